// Describes the machine: figures are comparable only with the machine they were measured on.

import { closeSync, fsyncSync, openSync, rmSync, writeSync } from "node:fs";
import { cpus, release, tmpdir, totalmem } from "node:os";
import { join } from "node:path";

import { median } from "./histogram.ts";

/** One line: processor, memory, system, runtimes, and the time of an fsync on the disk that holds the data. */
export function machine(): string {
  const [first] = cpus();
  const name = first?.model.trim() || process.arch;
  const node = Bun.which("node") ? Bun.spawnSync(["node", "--version"]).stdout.toString().trim() : "none";
  return [
    `${cpus().length} × ${name}`,
    `${Math.round(totalmem() / 2 ** 30)} GB`,
    `${process.platform} ${release().replace(/-.*/, "")}`,
    `Bun ${Bun.version}`,
    `Node ${node.replace(/^v/, "")}`,
    `fsync ${flushMs().toFixed(2)} ms`,
  ].join(", ");
}

/** Today as an ISO date. */
export function today(): string {
  return new Date().toISOString().slice(0, 10);
}

/** Milliseconds to append 4 KB to a file and flush it: the median of fifty. */
function flushMs(): number {
  const path = join(tmpdir(), `bellhop-fsync-${process.pid}`);
  const file = openSync(path, "w");
  const bytes = Buffer.alloc(4_096, 1);
  const times = Array.from({ length: 50 }, () => {
    const began = performance.now();
    writeSync(file, bytes);
    fsyncSync(file);
    return performance.now() - began;
  });
  closeSync(file);
  rmSync(path);
  return median(times);
}
