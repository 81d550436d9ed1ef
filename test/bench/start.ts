// `bun test/bench/start.ts [times]`: the time from starting the process until it answers on its port, with 1, 50 and 500
// handlers and a DATA_DIR that exists, in `bun start` and `bun dev`; and in dev, the time from saving a file until its new
// code has handled an event.

import { join } from "node:path";

import { sample } from "../../src/clerk/samples.ts";
import { type Files, post, temporaryFolder, until } from "../harness.ts";
import { median } from "./histogram.ts";
import { machine } from "./machine.ts";
import { usageOf } from "./process.ts";
import { startBellhop } from "./servers.ts";
import { number, table } from "./table.ts";

const times = Number(process.argv[2] ?? 5);
const SAVES = 5;

/** A handler that writes its version to a file when it runs. */
const versionedHandler = (version: number) => `
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { on } from "bellhop";
export default on("user.created", () => writeFileSync(join(import.meta.dir, "../../ran"), "${version}"));
`;

function handlers(count: number): Files {
  const other = `import { on } from "bellhop";\nexport default on("session.created", () => {});\n`;
  const others = Array.from({ length: count - 1 }, (_, n) => [`session.created/number-${n}.ts`, other]);
  return { "user.created/first.ts": versionedHandler(0), ...(Object.fromEntries(others) as Files) };
}

interface Started {
  ms: number;
  megabytes: number;
}

async function startMs(files: Files, mode: "start" | "dev"): Promise<Started> {
  await using folder = await temporaryFolder();
  // Creates DATA_DIR.
  await (await startBellhop(files, { mode, folder: folder.path })).stop();
  await using server = await startBellhop(files, { mode, folder: folder.path });
  return { ms: server.startMs, megabytes: usageOf(server.pid).residentMegabytes };
}

/** The median of a few saves, each of which waits for the one before. */
async function saveMs(files: Files) {
  await using server = await startBellhop(files, { mode: "dev" });
  const ran = join(server.folder, "ran");
  const durations: number[] = [];
  for (let version = 1; version <= SAVES; version += 1) {
    await Bun.sleep(200);
    const began = performance.now();
    await Bun.write(join(server.folder, "handlers/user.created/first.ts"), versionedHandler(version));
    await until(`version ${version}`, async () => {
      await post(`http://127.0.0.1:${server.port}/api/webhooks`, sample("user.created"));
      return (
        (await Bun.file(ran)
          .text()
          .catch(() => "")) === String(version)
      );
    });
    durations.push(performance.now() - began);
  }
  return median(durations);
}

const rows = [];
for (const count of [1, 50, 500]) {
  const files = handlers(count);
  const start: Started[] = [];
  const dev: Started[] = [];
  for (let time = 0; time < times; time += 1) {
    start.push(await startMs(files, "start"));
    dev.push(await startMs(files, "dev"));
  }
  rows.push({
    handlers: count,
    "start, listens after ms": number(median(start.map(({ ms }) => ms))),
    "memory MB": number(median(start.map(({ megabytes }) => megabytes))),
    "dev, listens after ms": number(median(dev.map(({ ms }) => ms))),
    "dev, saved to live ms": number(await saveMs(files)),
  });
}
console.log(table(rows));
console.log(`\nMedian of ${times} starts and of ${SAVES} saves. ${machine()}.`);
