// Where a directory is stored: how much space is free, and on what kind of file system. Reads only; never throws.

import { existsSync, readFileSync, realpathSync, statfsSync } from "node:fs";
import { dirname, resolve } from "node:path";

export interface Disk {
  freeBytes: number;
  totalBytes: number;
  /** `ext4`, `overlay`; undefined where it is not known, as on macOS. */
  fileSystem: string | undefined;
}

/** Of a directory, or of the nearest one above it that exists. Undefined when it is not known. */
export function diskOf(directory: string): Disk | undefined {
  try {
    let path = resolve(directory);
    while (!existsSync(path)) path = dirname(path);
    const { bavail, blocks, bsize } = statfsSync(path);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize, fileSystem: fileSystemOf(realpathSync(path)) };
  } catch {
    return undefined;
  }
}

function fileSystemOf(path: string): string | undefined {
  try {
    return findFileSystem(path, readFileSync("/proc/self/mountinfo", "utf8"));
  } catch {
    return undefined;
  }
}

/** The file system that a path is on, by the text of Linux's `/proc/self/mountinfo` (man 5 proc_pid_mountinfo). Pure. */
export function findFileSystem(path: string, mountinfo: string): string | undefined {
  let found: { point: string; kind: string } | undefined;
  for (const line of mountinfo.split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const escaped = before.split(" ")[4];
    const [kind] = after.split(" ");
    if (!escaped || !kind) continue;
    const point = escaped.replaceAll(/\\(\d{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    const isAbove = point === "/" || path === point || path.startsWith(`${point}/`);
    // A later mount covers an earlier one at the same place.
    if (isAbove && point.length >= (found?.point.length ?? 0)) found = { point, kind };
  }
  return found?.kind;
}

/** Why data on such a file system may be lost, or undefined. */
export function describeRisk(fileSystem: string | undefined): string | undefined {
  if (fileSystem === undefined) return undefined;
  if (/^(?:overlay|aufs|fuse\.fuse-overlayfs)$/.test(fileSystem))
    return "on a container's own layer, which is deleted with the container: mount a volume there";
  if (/^(?:tmpfs|ramfs)$/.test(fileSystem)) return "in memory, and lost at a restart of the machine: use a disk";
  if (/^(?:nfs4?|cifs|smb3?|fuse\.sshfs|9p)$/.test(fileSystem))
    return `on a network file system (${fileSystem}), whose locks SQLite can't rely on: use a local disk, or INBOX_URL`;
  return undefined;
}
