// `bun test/bench/backlog.ts [deliveries]`: how fast a backlog of 100,000 is handled, from starting the server until the
// last run is done, by a handler that does nothing and by one that inserts a row through `db`.

import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { messageId } from "../../src/clerk/message-id.ts";
import { openSqliteInbox } from "../../src/inbox/open.ts";
import { type Files, temporaryFolder } from "../harness.ts";
import { checkEffects, checkInbox } from "./check.ts";
import { machine } from "./machine.ts";
import { usageOf } from "./process.ts";
import { userCreated } from "./requests.ts";
import { DB_HANDLER, HANDLER, startBellhop } from "./servers.ts";
import { number, table } from "./table.ts";

const count = Number(process.argv[2] ?? 100_000);
const BATCH_SIZE = 5_000;

/** Accepts the deliveries directly through the inbox, as if they had arrived while no handler could run. */
async function acceptBacklog(folder: string): Promise<string[]> {
  await mkdir(join(folder, "data"));
  await using inbox = await openSqliteInbox(join(folder, "data"));
  const template = userCreated(1_024);
  const ids: string[] = [];
  while (ids.length < count) {
    const now = Date.now();
    const batch = Array.from({ length: Math.min(BATCH_SIZE, count - ids.length) }, () => messageId(now));
    ids.push(...batch);
    await Promise.all(
      batch.map((id) => {
        const subject = `user_${createHash("sha1").update(id).digest("hex").slice(0, 27)}`;
        const body = Buffer.from(template.replace(/user_0{27}/, subject));
        const rest = { type: "user.created", at: now, sample: false, sensitive: false, receivedAt: now, headers: {} };
        return inbox.accept({ ...rest, id, subject, body }, [{ handler: "user.created", lane: "user", parked: false }]);
      }),
    );
  }
  return ids;
}

async function drain(name: string, files: Files, check: (folder: string, ids: readonly string[]) => string[]) {
  await using folder = await temporaryFolder();
  const ids = await acceptBacklog(folder.path);
  const began = performance.now();
  await using server = await startBellhop(files, { folder: folder.path });
  await server.settle(3_600_000);
  const seconds = (performance.now() - began) / 1_000;
  const { cpuSeconds, residentMegabytes } = usageOf(server.pid);
  await server.stop();
  for (const problem of check(folder.path, ids)) {
    console.error(`${name}: ${problem}`);
    process.exitCode = 1;
  }
  return {
    handler: name,
    backlog: count.toLocaleString("en"),
    seconds: number(seconds),
    "runs/s": number(count / seconds),
    "CPU s/10,000": number((cpuSeconds / count) * 10_000),
    "memory MB": number(residentMegabytes),
  };
}

const rows = [
  await drain("does nothing", HANDLER, checkInbox),
  await drain("a row through `db`", DB_HANDLER, (...args) => [...checkInbox(...args), ...checkEffects(...args)]),
];
console.log(table(rows));
console.log(`\nMeasured from starting the process, including start-up. ${machine()}.`);
