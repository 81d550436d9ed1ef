import { expect, test } from "bun:test";

import { InboxUnavailable, UserError } from "../../src/errors.ts";
import { answerInbox, askInbox } from "../../src/inbox/remote.ts";
import { openSqliteInbox } from "../../src/inbox/sqlite.ts";
import { temporaryFolder } from "../harness.ts";
import { CREATED, delivery, run } from "./box.ts";
import { type Clocks, inboxContract, type OpenInbox } from "./contract.ts";

/** Both sides in one process, so that the clocks can cross; what crosses otherwise is cloned as between threads. */
const openRemote: OpenInbox = async (folder: string, clocks: Clocks) => {
  const { port1, port2 } = new MessageChannel();
  answerInbox(port2, (path: string, told) => openSqliteInbox(path, { ...clocks, ...told }));
  port1.start();
  port2.start();
  return askInbox(port1, folder, {
    onClosed() {
      port1.close();
      port2.close();
    },
  });
};

inboxContract("SQLite, from another thread", openRemote);

test("what can't be opened is told as it is on the other side", async () => {
  const { port1, port2 } = new MessageChannel();
  answerInbox(port2, () => Promise.reject(new UserError("no folder\n\n    Make one")));
  port1.start();
  port2.start();
  const refused = await askInbox(port1, "nowhere").catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(UserError);
  expect((refused as Error).message).toBe("no folder\n\n    Make one");
  port1.close();
  port2.close();
});

test("a disk that refuses is told with its reason, and so is that it takes again", async () => {
  await using folder = await temporaryFolder();
  const { port1, port2 } = new MessageChannel();
  answerInbox(port2, (path: string, told) => openSqliteInbox(path, { ...told, maxPages: 60 }));
  port1.start();
  port2.start();
  const told: unknown[] = [];
  await using inbox = await askInbox(port1, folder.path, { onTrouble: (reason) => told.push(reason) });
  const large = { body: new Uint8Array(1_000_000) };
  const refused = await inbox.accept(delivery("msg_1", large), [run(CREATED)]).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(InboxUnavailable);
  expect(inbox.writable).toBe(false);
  expect(told).toEqual(["database or disk is full"]);
  expect(await inbox.accept(delivery("msg_2"), [run(CREATED)])).toEqual({ status: "accepted" });
  expect(inbox.writable).toBe(true);
  expect(told).toEqual(["database or disk is full", undefined]);
});

test("what is asked for after the end is refused, and nothing waits for ever", async () => {
  await using folder = await temporaryFolder();
  const inbox = await openRemote(folder.path, { wallClock: Date.now, monotonic: () => performance.now() });
  await Promise.all([inbox.close(), inbox.close()]);
  expect(await inbox.get("msg_1").catch((error: unknown) => error)).toBeInstanceOf(InboxUnavailable);
});
