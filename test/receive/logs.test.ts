// Bodies, headers and secrets never appear in the log, at any level and in any format, nor in an answer.

import { expect, test } from "bun:test";

import { sample } from "../../src/clerk/samples.ts";
import { refusals } from "../../src/errors.ts";
import { rawConnection, rawRequest, SECRET, signed, spawnServer, temporaryFolder, until } from "../harness.ts";

// With digits, so that none of them appears in a text by chance.
const PLANTED = {
  name: "Zsófia-3141",
  email: "planted-5926@mail.example",
  code: "535897",
  key: "planted_key_9323",
  broken: "planted-8462-broken",
  authorization: "Bearer planted-6433",
  cookie: "session=planted-8327",
  signature: "planted-9502",
  timestamp: "planted-8841",
  query: "planted-9716",
  path: "planted-9399",
  agent: "planted-3751",
};
const CLERK_SECRET_KEY = "sk_test_Xq7Lw2Nv9Rt4Bk1Zc8Hd5Mf3Gj6Ps0Yu";

// They log nothing, and their errors contain nothing of the event.
const HANDLERS = {
  "[...event].ts": "export default () => {}",
  "user.updated.ts": `export default () => { throw new Error("the mailer is down") }`,
  "sms.created.ts": `import { NonRetriableError } from "bellhop"; export default () => { throw new NonRetriableError("no") }`,
  "user.deleted.ts": `export default () => { setTimeout(() => { throw new Error("too late") }, 1) }`,
};

/** Bodies with the values that must not appear. */
function planted() {
  const { name, email, code, key } = PLANTED;
  const person = {
    first_name: name,
    last_name: { [key]: name },
    email_addresses: [{ id: "idn_1", email_address: email }, email],
    public_metadata: { [key]: name },
    password_enabled: name,
  };
  const user = { ...sample("user.created").data, ...person };
  const later = Date.now() + 1;
  return {
    created: { ...sample("user.created"), data: user, event_attributes: { http_request: { user_agent: name } } },
    updated: { type: "user.updated", data: { ...user, id: "user_updated" }, timestamp: later },
    deleted: { type: "user.deleted", data: { ...user, id: "user_deleted" }, timestamp: later },
    sms: {
      ...sample("sms.created"),
      data: { id: "sms_1", message: code, to_phone_number: email, data: { otp_code: code } },
    },
    email: { ...sample("email.created"), data: { id: "ema_1", body: code, subject: code, data: { otp_code: code } } },
    unknown: { type: "user.renamed", data: person },
    invalid: [name, email, code],
  };
}

for (const [mode, format] of [
  ["dev", "pretty"],
  ["dev", "json"],
  ["start", "pretty"],
  ["start", "json"],
] as const)
  test(`bun ${mode} with ${format} logs prints no part of bodies, headers and secrets`, async () => {
    await using folder = await temporaryFolder();
    for (const [name, text] of Object.entries(HANDLERS)) await Bun.write(`${folder.path}/handlers/${name}`, text);
    const env = { LOG_LEVEL: "debug", LOG_FORMAT: format, CLERK_SECRET_KEY, MAX_BODY_BYTES: "100000" };
    await using server = await spawnServer(folder.path, { mode, env });
    const answers: string[] = [];
    const { authorization, cookie, agent } = PLANTED;
    const more = { authorization, cookie, "user-agent": agent, "x-forwarded-for": PLANTED.path };

    const send = async (
      id: string,
      body: string,
      headers: Record<string, string> = {},
      url = server.url,
      method = "POST",
    ) => {
      const response = await fetch(url, { method, body, headers: { ...signed(body, { id }), ...more, ...headers } });
      answers.push(`${response.status} ${await response.text()} ${JSON.stringify([...response.headers])}`);
      return response.status;
    };
    const bodies = planted();
    const good = JSON.stringify(bodies.created);

    expect(await send("msg_created", good)).toBe(200);
    expect(await send("msg_created", good)).toBe(200);
    for (const name of ["updated", "deleted", "sms", "email", "unknown"] as const)
      expect(await send(`msg_${name}`, JSON.stringify(bodies[name]))).toBe(200);
    expect(await send("msg_422", JSON.stringify(bodies.invalid))).toBe(422);
    expect(await send("msg_422", `{"type":"user.created","data":{"name":"${PLANTED.broken}`)).toBe(422);
    expect(await send("msg_422", PLANTED.broken)).toBe(422);
    const refusedHeaders = [
      { "svix-signature": "" },
      { "svix-id": "msg.1" },
      { "svix-timestamp": PLANTED.timestamp },
      { "svix-signature": `v1,${PLANTED.signature}` },
      signed(good, { at: new Date(Date.now() - 1e7) }),
      signed(good, { at: new Date(Date.now() + 1e7) }),
    ];
    for (const headers of refusedHeaders) expect(await send("msg_400", good, headers)).toBe(400);
    expect(await send("msg_413", JSON.stringify({ ...bodies.created, pad: PLANTED.name.repeat(10_000) }))).toBe(413);
    const query = `?token=${PLANTED.query}`;
    expect(await send("msg_405", good, {}, server.url + query, "PUT")).toBe(405);
    expect(await send("msg_404", good, {}, new URL(`/${PLANTED.path}${query}`, server.url).href)).toBe(404);

    const port = Number(new URL(server.url).port);
    using aborted = await rawConnection(port);
    aborted.write(rawRequest("POST", "/api/webhooks", { ...signed(good), ...more, "content-length": "50000" }, good));
    using garbage = await rawConnection(port);
    garbage.write(`${Object.values(PLANTED).join("\r\n")}\r\n\r\n`);
    await Bun.sleep(20);
    aborted[Symbol.dispose]();

    const logged = (...texts: string[]) =>
      until(
        `the log to contain ${texts.join(", ")}`,
        () => texts.every((text) => server.output().includes(text)) || undefined,
      );
    const done = format === "pretty" ? "✓ user.renamed  [...event]" : "[...event] done";
    await logged("the mailer is down", "sms.created is dead", "too late", done, "duplicate");
    // The first two are never logged; the others can't be caused here.
    const absent = ["method_not_allowed", "not_found", "body_dropped", "internal", "unavailable", "shutting_down"];
    const expected = Object.entries(refusals).filter(([code]) => !absent.includes(code));
    await logged(...expected.map(([, { message }]) => message));
    if (mode === "dev") await logged("differs from Clerk's specification");

    using late = await rawConnection(port);
    const request = rawRequest("POST", "/api/webhooks", { ...signed(good, { id: "msg_late" }), ...more }, good);
    late.write(request.subarray(0, 200));
    // A server that has answered a later request has read this beginning.
    await fetch(new URL("/health", server.url), { keepalive: false });
    server.process.kill("SIGTERM");
    await logged("stopping");
    late.write(request.subarray(200));
    await server.process.exited;
    answers.push(late.received());

    for (const [source, text] of [
      ["the log", server.output()],
      ["the answers", answers.join("\n")],
    ] as const) {
      const found = [...Object.values(PLANTED), ...substringsOf(SECRET), ...substringsOf(CLERK_SECRET_KEY)].filter(
        (value) => text.includes(value) || text.includes(JSON.stringify(value).slice(1, -1)),
      );
      expect({ source, found, text: found.length > 0 ? text : "" }).toEqual({ source, found: [], text: "" });
    }
  }, 30_000);

/** All sequences of eight characters of a secret. Its first four may be shown, to compare it with the Dashboard. */
function substringsOf(secret: string): string[] {
  const bare = secret.replace(/^(whsec_|sk_test_)/, "");
  return Array.from({ length: bare.length - 7 }, (_, start) => bare.slice(start, start + 8));
}
