// Runs that a crash interrupted are retried. A run that was interrupted too often runs exclusively, which shows whether
// it causes the crash.

import { expect, setDefaultTimeout, test } from "bun:test";

import type { Inbox } from "../../src/inbox/inbox.ts";
import { at, claimer, interrupted } from "../inbox/box.ts";
import { dispatching, message, runsFor, tableOf, withOperations } from "./dispatching.ts";

// The machine may be slow, because other processes use it too.
setDefaultTimeout(20_000);

test("runs that a crash interrupted are retried, and nothing is lost", async () => {
  const calls: string[] = [];
  const table = tableOf({ "user.created": () => 1 });
  await using bellhop = await dispatching(
    { "user.created": ({ data, run }) => calls.push(`${data.id} ${run.attempt}`) },
    {
      async before(inbox) {
        for (const id of ["one", "two", "three"]) await inbox.accept(message(id), runsFor(table, "user.created"));
        await inbox.claim(claimer({ "user.created": 2 }, { owner: "a dead process" }));
      },
    },
  );
  for (const id of ["one", "two", "three"]) await bellhop.reaches(id, "done");
  expect(calls.toSorted()).toEqual(["one 2", "three 1", "two 2"]);
  expect((await bellhop.run("one")).attempts.map(({ outcome }) => outcome)).toEqual(["interrupted", "done"]);
});

test("a run whose file is gone after the crash is parked, and does not block its order key", async () => {
  const table = tableOf({ "user.created": () => 1 });
  await using bellhop = await dispatching(
    { "user.updated": () => "done" },
    {
      // Its end is recorded after the runs of missing files have been parked.
      wrap: (inbox) =>
        withOperations(inbox, { finish: (...ending) => Bun.sleep(100).then(() => inbox.finish(...ending)) }),
      async before(inbox) {
        await inbox.accept(message("msg_1", { subject: "user_1" }), runsFor(table, "user.created"));
        await inbox.claim(claimer({ "user.created": 1 }, { owner: "a dead process" }));
      },
    },
  );
  await bellhop.reaches("msg_1", ({ parked }) => parked);
  await bellhop.send("msg_2", { subject: "user_1", type: "user.updated", at: at(1) });
  await bellhop.reaches("msg_2", "done");
});

test("the last attempt of a run that crashes interrupted is exclusive", async () => {
  const table = tableOf({ "user.created": () => 1 });
  const concurrent = new Map<string, string[]>();
  const running = new Set<string>();
  await using bellhop = await dispatching(
    {
      "user.created": [
        { attempts: 2 },
        async ({ data }) => {
          const id = String(data.id);
          running.add(id);
          for (const other of running) concurrent.set(other, [...(concurrent.get(other) ?? []), ...running]);
          await Bun.sleep(20);
          running.delete(id);
        },
      ],
    },
    {
      async before(inbox) {
        for (let n = 0; n < 3; n += 1) await inbox.accept(message(`suspect_${n}`), runsFor(table, "user.created"));
        await inbox.claim(claimer({ "user.created": 10 }, { owner: "a dead process" }));
        for (let n = 0; n < 5; n += 1) await inbox.accept(message(`innocent_${n}`), runsFor(table, "user.created"));
      },
    },
  );
  const ids = [0, 1, 2].map((n) => `suspect_${n}`);
  for (const id of ids) await bellhop.reaches(id, "done");
  for (const id of ids) expect(new Set(concurrent.get(id))).toEqual(new Set([id]));
  for (let n = 0; n < 5; n += 1) await bellhop.reaches(`innocent_${n}`, "done");
  expect(concurrent.get("innocent_0")?.length).toBeGreaterThan(1);
});

test("a run that kills its process in an exclusive attempt is dead, and runs that crashed with it before are not", async () => {
  const table = tableOf({ "user.created": () => 1 });
  await using bellhop = await dispatching(
    { "user.created": [{ attempts: 2 }, () => "done"] },
    {
      async before(inbox) {
        await inbox.accept(message("guilty"), runsFor(table, "user.created"));
        await inbox.accept(message("neighbour"), runsFor(table, "user.created"));
        const first = await inbox.claim(claimer({ "user.created": 10 }, { owner: "a dead process" }));
        for (const run of first.runs) await inbox.finish(run, interrupted(0, run.delivery.id === "guilty"));
        await inbox.claim(claimer({ "user.created": 10 }, { owner: "another dead process", exclusive: true }));
      },
    },
  );
  await bellhop.reaches("neighbour", "done");
  expect(await bellhop.run("guilty")).toMatchObject({
    state: "dead",
    reason: expect.stringContaining("while nothing else ran"),
    attempts: [{ outcome: "interrupted" }, { outcome: "dead", error: { name: "Crash" } }],
  });
});

/** Interrupts `suspect` in an earlier process. It must run exclusively, after `delay` milliseconds. */
function withSuspect(table: ReturnType<typeof tableOf>, delay: number) {
  return async (inbox: Inbox) => {
    await inbox.accept(message("suspect", { type: "session.created" }), runsFor(table, "session.created"));
    const { runs } = await inbox.claim(claimer({ "session.created": 1 }, { owner: "a dead process" }));
    await inbox.finish(runs[0]!, interrupted(delay, true));
  };
}

test("no run starts during an exclusive run, and deliveries that arrive meanwhile run after it", async () => {
  const started = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  const calls: string[] = [];
  const functions = {
    "session.created": async () => {
      started.resolve();
      await release.promise;
      calls.push("suspect");
    },
    "user.created": () => calls.push("msg_1"),
  };
  const table = tableOf(functions);
  await using bellhop = await dispatching(functions, { before: withSuspect(table, 0), table: () => table });
  await started.promise;
  await bellhop.send("msg_1");
  await Bun.sleep(100);
  release.resolve();
  await bellhop.reaches("msg_1", "done");
  expect(calls).toEqual(["suspect", "msg_1"]);
});

test("a steady stream of deliveries starves neither an exclusive run nor other runs", async () => {
  const functions = { "session.created": () => undefined, "user.created": () => Bun.sleep(60) };
  const table = tableOf(functions);
  await using bellhop = await dispatching(functions, { before: withSuspect(table, 300), table: () => table });
  let count = 0;
  const stream = setInterval(() => void bellhop.send(`msg_${(count += 1)}`), 20);
  await Bun.sleep(500);
  await bellhop.send("first", { subject: "user_1", at: at(1) });
  await bellhop.send("second", { subject: "user_1", at: at(2) });
  // Deliveries keep coming meanwhile, so that some run is always in progress.
  await bellhop.reaches("suspect", "done");
  await bellhop.reaches("second", "done");
  clearInterval(stream);
  await bellhop.dispatcher.idle();
});

test("exclusive runs never overlap, also while deliveries keep coming", async () => {
  const suspects = [1, 2, 3, 4].map((n) => `suspect_${n}`);
  const running = new Set<string>();
  const overlaps: string[][] = [];
  const functions = {
    "session.created": async ({ delivery }: { delivery: { id: string } }) => {
      running.add(delivery.id);
      overlaps.push([...running]);
      await Bun.sleep(20);
      running.delete(delivery.id);
    },
    "user.created": () => undefined,
  };
  const table = tableOf(functions);
  await using bellhop = await dispatching(functions, {
    table: () => table,
    async before(inbox) {
      for (const id of suspects)
        await inbox.accept(message(id, { type: "session.created" }), runsFor(table, "session.created"));
      const { runs } = await inbox.claim(claimer({ "session.created": 9 }, { owner: "a dead process" }));
      for (const run of runs) await inbox.finish(run, interrupted(30, true));
    },
  });
  let count = 0;
  const stream = setInterval(() => void bellhop.send(`msg_${(count += 1)}`), 1);
  try {
    for (const id of suspects) await bellhop.reaches(id, "done");
  } finally {
    clearInterval(stream);
  }
  expect(overlaps.map((ids) => ids.join(" and ")).toSorted()).toEqual(suspects);
  await bellhop.dispatcher.idle();
});
