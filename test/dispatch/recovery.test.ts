// What a crash interrupted is retried. A run that was interrupted too often runs exclusively, so that a crash is its own.

import { expect, setDefaultTimeout, test } from "bun:test";

import type { Inbox } from "../../src/inbox/inbox.ts";
import { at, claimer, interrupted } from "../inbox/box.ts";
import { dispatching, message, runsFor, tableOf } from "./dispatching.ts";

// Other processes may use the machine as well.
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

test("the last attempt of a run that crashes interrupted is exclusive", async () => {
  const table = tableOf({ "user.created": () => 1 });
  const beside = new Map<string, string[]>();
  const running = new Set<string>();
  await using bellhop = await dispatching(
    {
      "user.created": [
        { attempts: 2 },
        async ({ data }) => {
          const id = String(data.id);
          running.add(id);
          for (const each of running) beside.set(each, [...(beside.get(each) ?? []), ...running]);
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
  for (const id of ids) expect(new Set(beside.get(id))).toEqual(new Set([id]));
  for (let n = 0; n < 5; n += 1) await bellhop.reaches(`innocent_${n}`, "done");
  expect(beside.get("innocent_0")?.length).toBeGreaterThan(1);
});

test("a run that killed its process during an exclusive attempt is dead, and its neighbours are not", async () => {
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

/** In an earlier process, `suspect` was interrupted: it must run exclusively, after `delay` milliseconds. */
function withSuspect(table: ReturnType<typeof tableOf>, delay: number) {
  return async (inbox: Inbox) => {
    await inbox.accept(message("suspect", { type: "session.created" }), runsFor(table, "session.created"));
    const { runs } = await inbox.claim(claimer({ "session.created": 1 }, { owner: "a dead process" }));
    await inbox.finish(runs[0]!, interrupted(delay, true));
  };
}

test("nothing starts beside an exclusive run, and what arrives meanwhile runs afterwards", async () => {
  let isRunning = false;
  let beside = 0;
  const functions = {
    "session.created": async () => {
      isRunning = true;
      await Bun.sleep(200);
      isRunning = false;
    },
    "user.created": () => void (beside += Number(isRunning)),
  };
  const table = tableOf(functions);
  await using bellhop = await dispatching(functions, { before: withSuspect(table, 0), table: () => table });
  await bellhop.reaches("suspect", "running");
  await bellhop.send("msg_1");
  await bellhop.reaches("suspect", "done");
  await bellhop.reaches("msg_1", "done");
  expect(beside).toBe(0);
});

test("a steady stream of deliveries keeps neither an exclusive run nor others waiting", async () => {
  const functions = { "session.created": () => undefined, "user.created": () => Bun.sleep(60) };
  const table = tableOf(functions);
  await using bellhop = await dispatching(functions, { before: withSuspect(table, 300), table: () => table });
  let number = 0;
  const stream = setInterval(() => void bellhop.send(`msg_${(number += 1)}`), 20);
  await Bun.sleep(500);
  await bellhop.send("first", { subject: "user_1", at: at(1) });
  await bellhop.send("second", { subject: "user_1", at: at(2) });
  // Both while deliveries come: there is always one that runs.
  await bellhop.reaches("suspect", "done");
  await bellhop.reaches("second", "done");
  clearInterval(stream);
  await bellhop.dispatcher.idle();
});

test("exclusive runs never run beside each other, also while deliveries keep coming", async () => {
  const suspects = [1, 2, 3, 4].map((n) => `suspect_${n}`);
  const running = new Set<string>();
  const beside: string[][] = [];
  const functions = {
    "session.created": async ({ delivery }: { delivery: { id: string } }) => {
      running.add(delivery.id);
      beside.push([...running]);
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
  let number = 0;
  const stream = setInterval(() => void bellhop.send(`msg_${(number += 1)}`), 1);
  try {
    for (const id of suspects) await bellhop.reaches(id, "done");
  } finally {
    clearInterval(stream);
  }
  expect(beside.map((ids) => ids.join(" and ")).toSorted()).toEqual(suspects);
  await bellhop.dispatcher.idle();
});
