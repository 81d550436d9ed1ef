// What the figures were measured on: a figure without its machine says nothing.

import { closeSync, fsyncSync, openSync, rmSync, writeSync } from "node:fs";
import { cpus, release, tmpdir, totalmem } from "node:os";
import { join } from "node:path";

import { median } from "./histogram.ts";

/** One line: processor, memory, system, runtimes, and what a flush to the disk costs where the data lies. */
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

/** The day as people in every country read it. */
export function today(): string {
  return new Date().toISOString().slice(0, 10);
}

/** Milliseconds to add 4 KB to a file and flush it: the middle one of fifty. */
function flushMs(): number {
  const path = join(tmpdir(), `bellhop-fsync-${process.pid}`);
  const file = openSync(path, "w");
  const bytes = Buffer.alloc(4_096, 1);
  const took = Array.from({ length: 50 }, () => {
    const began = performance.now();
    writeSync(file, bytes);
    fsyncSync(file);
    return performance.now() - began;
  });
  closeSync(file);
  rmSync(path);
  return median(took);
}
