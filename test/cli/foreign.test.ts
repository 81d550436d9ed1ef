// Text from outside (names of Clerk's users, logs and errors of handlers, responses of other servers) reaches a terminal
// escaped: no command and no log prints a control sequence from it, or lets it imitate a log line of Bellhop.

import { expect, test } from "bun:test";

import {
  rawExchange,
  rawRequest,
  runCommand,
  signed,
  spawnServer,
  temporaryFolder,
  until,
  writeHandlers,
} from "../harness.ts";

const FORGED = "[12:00:00] ERROR: forged";
// Sets the clipboard and the title, changes colours, uses C1 codes and a carriage return, and reorders text.
const HOSTILE = `Eve \x1b]52;c;cm0gLXJmIH4=\x07\x1b]0;owned\x07\x1b[2J\x9b31m\x9d0;x\x9c\x7f\r\u202e\n${FORGED}`;

const HANDLERS = {
  "[...event].ts": `export default ({ event, log }) => { log.info(event.data.name); }`,
  "[...event]/fails.ts": `import { NonRetriableError } from "bellhop";
export default ({ data }) => { throw new NonRetriableError(data.name); }`,
  "[...event]/later.ts": `export default ({ data }) => { throw new Error(data.name); }`,
  "[...event]/database.ts": "export default async ({ data, db }) => { await db`select ${data.name}`; }",
};

function expectHarmless(source: string, output: string) {
  // oxlint-disable-next-line no-control-regex
  const found = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/.exec(output);
  expect({ source, around: found && JSON.stringify(output.slice(found.index - 80, found.index + 20)) }).toEqual({
    source,
    around: null,
  });
  expect({ source, forged: output.split("\n").filter((line) => line.startsWith(FORGED)) }).toEqual({
    source,
    forged: [],
  });
}

test("commands and the pretty log show text from outside with its control characters escaped", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, HANDLERS);
  const env = { LOG_FORMAT: "pretty", LOG_LEVEL: "debug" };
  await using server = await spawnServer(folder.path, { env, mode: "dev" });
  const port = Number(new URL(server.url).port);
  const event = JSON.stringify({ type: `user.${HOSTILE}`, data: { id: `user_${HOSTILE}`, name: HOSTILE } });
  const headers = { ...signed(event, { id: "msg_1" }), "user-agent": "agent \x9b31m\x7f" };
  expect((await rawExchange(port, rawRequest("POST", "/api/webhooks", headers, event))).status).toBe(200);
  await until("the failures", () => (server.output().match(/Eve/g)?.length ?? 0) > 4 || undefined);

  using other = Bun.serve({ port: 0, fetch: () => new Response(HOSTILE, { status: 500 }) });
  const commands = [
    ["deliveries"],
    ["deliveries", "--json"],
    ["deliveries", "msg_1"],
    ["deliveries", "msg_1", "--payload"],
    ["deliveries", "msg_1", "--payload", "--json"],
    ["try", "msg_1"],
    ["replay", "msg_1", "--handler", "[...event]/fails"],
    ["send", "user.created", "--url", other.url.href],
    ["send", "user.created", "--data", JSON.stringify({ name: HOSTILE })],
    ["send", "user.created", "--count", "3", "--data", JSON.stringify({ name: HOSTILE })],
  ];
  for (const args of commands) {
    const { stdout, stderr } = await runCommand(folder.path, args, { PORT: String(port) });
    expectHarmless(args.join(" "), stdout);
    expectHarmless(args.join(" "), stderr);
    // The text itself is shown.
    if (args[1] === "msg_1") expect(stdout).toContain("Eve");
  }
  expectHarmless("the pretty log", server.output());
  expect(server.output()).toContain(String.raw`Eve \x1b]52`);
}, 60_000);

test("JSON logs escape C1 characters too", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, HANDLERS);
  await using server = await spawnServer(folder.path);
  const event = JSON.stringify({ type: "user.created", data: { id: "user_1", name: HOSTILE } });
  await fetch(server.url, { method: "POST", body: event, headers: signed(event) });
  await until("the failure", () => server.output().includes("fails is dead") || undefined);
  expectHarmless("the JSON log", server.output());
  const lines = server
    .output()
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(lines.some(({ msg }) => msg.includes(HOSTILE))).toBe(true);
}, 20_000);
