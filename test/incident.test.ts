// A bad day, end to end: an API goes down and comes back, a deploy breaks a handler, Postgres restarts, and the endpoint
// falls silent. A person gets one message about each, and no other.

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import type { Notice } from "../src/monitor/notices.ts";
import { post, runCommand, spawnServer, temporaryFolder, until, writeHandlers } from "./harness.ts";
import { httpReceiver } from "./monitor/receivers.ts";
import { noPostgres, startPostgres } from "./postgres.ts";

setDefaultTimeout(300_000);
const PATIENCE_MS = 90_000;

const handlers = (total: string) => ({
  "user.created.ts": "export default () => {};",
  "user.created/crm.ts": `
    export default async ({ data }) => {
      const response = await fetch(process.env.CRM_URL, { method: "POST", body: data.id });
      if (!response.ok) throw new Error("the CRM answered " + response.status);
    };`,
  "user.updated.ts": `
    import { on } from "bellhop";
    export default on("user.updated", { attempts: 1 }, ({ data }) => ${total});`,
});
const GOOD = "data.public_metadata?.total ?? 0";
const BROKEN = "data.public_metadata.total.toFixed(2)";

/** The notice without its times and texts. */
function titleOf(notice: Notice): string {
  if (notice.kind === "problem") return `problem in ${notice.problem.handler}: ${notice.changes.join(", ")}`;
  if (notice.kind === "paused" || notice.kind === "resumed") return `${notice.kind}: ${notice.handler}`;
  if (notice.kind === "outage" || notice.kind === "outage over") return `${notice.kind}: ${notice.of}`;
  return notice.kind;
}

if (noPostgres) console.log(`skipped: ${noPostgres}`);
test.skipIf(noPostgres !== undefined)(
  "a bad day causes a dozen messages at most, nothing missing and nothing twice",
  async () => {
    await using postgres = await startPostgres();
    await using folder = await temporaryFolder();
    using alerts = httpReceiver();
    let crmStatus = 200;
    using crm = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response(null, { status: crmStatus }) });
    const env = {
      INBOX_URL: await postgres.database(),
      CRM_URL: crm.url.href,
      ALERT_URLS: alerts.url,
      ALERT_SECRET: `whsec_${Buffer.alloc(24, 7).toString("base64")}`,
      BREAKER_AFTER: "5",
      SILENCE_AFTER: "1m",
      BUN_OPTIONS: `--preload=${join(import.meta.dir, "quick-timers.ts")}`,
    };
    await writeHandlers(folder.path, handlers(GOOD));
    let server = await spawnServer(folder.path, { env });
    let sent = 0;
    const send = async (type: string) => {
      sent += 1;
      const id = `msg_${sent}`;
      await post(server.url, { type, object: "event", data: { id: `user_${sent}`, object: "user" } }, { id });
      return id;
    };
    const messages = () =>
      alerts.requests.map(({ body }) => JSON.parse(body).data as { title: string; text: string; notices: Notice[] });
    const titles = () => messages().flatMap(({ notices }) => notices.map(titleOf));
    const alerted = (title: string) =>
      until(`the alert "${title}"`, () => titles().some((found) => found.startsWith(title)), PATIENCE_MS);
    const sendUntil = async (type: string, title: string) => {
      const ids: string[] = [];
      await until(
        `the alert "${title}"`,
        async () => {
          ids.push(await send(type));
          await Bun.sleep(300);
          return titles().some((found) => found.startsWith(title));
        },
        PATIENCE_MS,
      );
      return ids;
    };
    const openProblems = async () => {
      const { stdout } = await runCommand(folder.path, ["problems", "--json"], env);
      return (JSON.parse(stdout) as { problems: { id: string; handler: string }[] }).problems;
    };
    const deploy = async (total: string) => {
      server.process.kill("SIGTERM");
      await server.process.exited;
      await writeHandlers(folder.path, handlers(total));
      server = await spawnServer(folder.path, { env });
    };
    try {
      // An API goes down, and comes back.
      crmStatus = 503;
      const waiting = await sendUntil("user.created", "paused: user.created/crm");
      crmStatus = 200;
      await alerted("resumed: user.created/crm");
      for (const id of waiting) await server.ended(id, PATIENCE_MS);

      // A deploy breaks a handler. It is fixed, and what died runs again.
      await deploy(BROKEN);
      const died = await send("user.updated");
      await server.ended(died, PATIENCE_MS);
      await alerted("problem in user.updated");
      const problem = (await openProblems()).find(({ handler }) => handler === "user.updated")!;
      await deploy(GOOD);
      const replay = await runCommand(folder.path, ["replay", "--problem", problem.id, "--yes"], env);
      expect(replay.exitCode).toBe(0);
      await until("no problem to be open", async () => (await openProblems()).length === 0, PATIENCE_MS);

      // Postgres restarts.
      await postgres.stop();
      await alerted("outage: inbox");
      await postgres.start();
      await alerted("outage over: inbox");

      // The endpoint falls silent.
      await alerted("silence");
      for (const { text } of messages()) console.log(`${text}\n`);
      expect(messages().length).toBeLessThanOrEqual(12);
      expect(titles().length).toBe(new Set(titles()).size);
    } finally {
      await server[Symbol.asyncDispose]();
    }
  },
);
