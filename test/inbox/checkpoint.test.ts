// The write-ahead log of SQLite is checkpointed while deliveries arrive, and stays bounded.

import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";

import { createCheckpointer } from "../../src/inbox/checkpoint.ts";
import { openSqliteInbox } from "../../src/inbox/open.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { delivery } from "./box.ts";

const PAGE = 4_096;

async function flood(folder: string, count: number, onBatch = async () => {}) {
  const path = join(folder, "inbox.db");
  await using inbox = await openSqliteInbox(folder, { checkpointer: createCheckpointer(path, 200) });
  for (let n = 0; n < count; n += 10) {
    await Promise.all(
      Array.from({ length: 10 }, (_, k) => inbox.accept(delivery(`msg_${n + k}`, { subject: `user_${n + k}` }), [])),
    );
    await onBatch();
  }
  return statSync(`${path}-wal`).size / PAGE;
}

test("checkpoints the log while deliveries arrive, restarts it, and keeps it bounded", async () => {
  await using folder = await temporaryFolder();
  const log = await flood(folder.path, 10_000);
  // 1,000 commits of about eight pages each. Commits during a checkpoint make the log longer than 200 pages.
  expect(log).toBeLessThan(2_500);
  using db = new Database(join(folder.path, "inbox.db"), { readonly: true });
  expect(db.query("select count(*) as stored from delivery").get()).toEqual({ stored: 10_000 });
});

test("loses nothing while a reader keeps the log from restarting", async () => {
  await using folder = await temporaryFolder();
  const readers: Database[] = [];
  await flood(folder.path, 2_000, async () => {
    if (readers.length > 0) return;
    const reader = new Database(join(folder.path, "inbox.db"), { readonly: true });
    readers.push(reader);
    reader.run("begin");
    reader.query("select count(*) from delivery").get();
  });
  for (const reader of readers) reader.close();
  using db = new Database(join(folder.path, "inbox.db"), { readonly: true });
  expect(db.query("select count(*) as stored from delivery").get()).toEqual({ stored: 2_000 });
});

test("keeps its locks while the thread flushes the file, so that another program can't remove the log", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "inbox.db");
  // The last program that closes the file removes the log, unless the file is locked.
  const visit = `const db = new (require("bun:sqlite").Database)(process.argv[1]); db.query("select * from meta").all(); db.close(true);`;
  const kept: boolean[] = [];
  let batches = 0;
  await flood(folder.path, 2_000, async () => {
    batches += 1;
    if (batches % 50 > 0) return;
    await Bun.spawn([process.execPath, "-e", visit, path]).exited;
    kept.push(existsSync(`${path}-wal`));
  });
  expect(kept).toEqual([true, true, true, true]);
});
