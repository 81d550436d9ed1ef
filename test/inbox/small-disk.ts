// Mounts a small tmpfs for tests of a full disk, which needs root on Linux.

import { writeFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { join } from "node:path";

import { temporaryFolder } from "../temporary-folder.ts";

export const isRoot = process.getuid?.() === 0;
export const mounts = isRoot && process.platform === "linux" && canMount();
if (!mounts) console.log("skipped: tests that mount a small tmpfs need root on Linux");

/** A temporary directory that is a separate, small disk. */
export async function smallDisk(size: string): Promise<{ path: string } & AsyncDisposable> {
  await using opened = new AsyncDisposableStack();
  const { path } = opened.use(await temporaryFolder());
  const { success, stderr } = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", `size=${size}`, "tmpfs", path]);
  if (!success) throw new Error(stderr.toString());
  opened.defer(() => void Bun.spawnSync(["umount", "-l", path]));
  const resources = opened.move();
  return { path, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

/** Fills the disk with a file except for `room` bytes. Returns the file's path. */
export async function fill(disk: string, room = 0): Promise<string> {
  const { bavail, bsize } = await statfs(disk);
  const path = join(disk, "filler");
  try {
    writeFileSync(path, new Uint8Array(bavail * bsize - room));
  } catch {
    // Another process has used some of the space meanwhile, so the disk is full anyway.
  }
  return path;
}

function canMount(): boolean {
  const folder = Bun.spawnSync(["mktemp", "-d"]).stdout.toString().trim();
  const { success } = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]);
  if (success) Bun.spawnSync(["umount", folder]);
  Bun.spawnSync(["rmdir", folder]);
  return success;
}
