// A small disk of its own for tests of a full one. It needs root on Linux, to mount a tmpfs.

import { writeFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { join } from "node:path";

import { temporaryFolder } from "../temporary-folder.ts";

export const isRoot = process.getuid?.() === 0;
export const mounts = isRoot && process.platform === "linux" && canMount();
if (!mounts) console.log("skipped: tests that mount a small tmpfs need root on Linux");

/** A folder that is a disk of its own. */
export async function smallDisk(size: string): Promise<{ path: string } & AsyncDisposable> {
  await using opened = new AsyncDisposableStack();
  const { path } = opened.use(await temporaryFolder());
  const { success, stderr } = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", `size=${size}`, "tmpfs", path]);
  if (!success) throw new Error(stderr.toString());
  opened.defer(() => void Bun.spawnSync(["umount", "-l", path]));
  const held = opened.move();
  return { path, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

/** Writes a file that leaves `room` bytes, and returns its path. */
export async function fill(disk: string, room = 0): Promise<string> {
  const { bavail, bsize } = await statfs(disk);
  const path = join(disk, "filler");
  try {
    writeFileSync(path, new Uint8Array(bavail * bsize - room));
  } catch {
    // Another process took some of the room meanwhile: the disk is full either way.
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
