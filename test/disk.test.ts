// Where a directory is stored, by Linux's table of mounts.

import { expect, test } from "bun:test";

import { describeRisk, diskOf, findFileSystem } from "../src/disk.ts";

const CONTAINER = `
600 500 0:54 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/l,upperdir=/u
601 600 0:57 / /proc rw,nosuid - proc proc rw
602 600 0:58 / /dev rw - tmpfs tmpfs rw
610 600 259:1 /volumes/data /app/data rw,relatime master:2 - ext4 /dev/nvme0n1p1 rw
611 600 259:1 /volumes/two /app/two\\040words rw - xfs /dev/sda rw
612 600 0:60 / /app/share rw - nfs4 server:/share rw
613 600 0:61 / /app/share rw - ext4 /dev/sdb rw
`;

test.each([
  ["/app", "overlay"],
  ["/app/data", "ext4"],
  ["/app/data/inbox", "ext4"],
  ["/app/database", "overlay"],
  ["/app/two words/x", "xfs"],
  ["/app/share", "ext4"],
  ["/dev/shm", "tmpfs"],
])("%s is on %s", (path, kind) => {
  expect(findFileSystem(path, CONTAINER)).toBe(kind);
});

test("an unreadable table gives nothing", () => {
  expect(findFileSystem("/app", "")).toBeUndefined();
  expect(findFileSystem("/app", "no mounts\nhere - ")).toBeUndefined();
});

test("a container's layer, memory and network file systems are risks, disks are not", () => {
  expect(describeRisk("overlay")).toContain("deleted with the container");
  expect(describeRisk("tmpfs")).toContain("in memory");
  expect(describeRisk("nfs4")).toContain("network file system");
  for (const kind of ["ext4", "xfs", "btrfs", "zfs", "apfs", undefined]) expect(describeRisk(kind)).toBeUndefined();
});

test("a directory that does not exist yet is on the disk of the one above it", () => {
  const disk = diskOf(`${import.meta.dir}/none/of/these`);
  expect(disk!.freeBytes).toBeGreaterThan(0);
  expect(disk!.totalBytes).toBeGreaterThanOrEqual(disk!.freeBytes);
});
