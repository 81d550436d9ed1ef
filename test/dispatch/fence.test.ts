// Attempts of a server whose runs other servers may take over.

import { expect, test } from "bun:test";

import { type Cluster, joinCluster } from "../../src/cluster/cluster.ts";
import type { MembershipEvents } from "../../src/cluster/membership.ts";
import { InboxUnavailable } from "../../src/errors.ts";
import type { Inbox } from "../../src/inbox/inbox.ts";
import { NonRetriableError } from "../../src/index.ts";
import { claimer, run } from "../inbox/box.ts";
import { until } from "../until.ts";
import { dispatching, message, withOperations } from "./dispatching.ts";

const ABOUT = { host: "", pid: 1, version: "", startedAt: 0, handlers: [], running: 0, changes: 0 };

/** Without the thread: the test reports what it would report. */
function clusterOf(id: string, look = async () => true): { cluster: Cluster; events: MembershipEvents } {
  let events!: MembershipEvents;
  const cluster = joinCluster((given) => {
    events = given;
    return { ready: Promise.resolve(), publish: () => {}, look, stop: async () => {} };
  });
  events.onServers(id, [], true);
  return { cluster, events };
}

test.each(["same", "other"])(
  "a claim that becomes durable during a fence starts nothing; resumed as the %s id",
  async (id) => {
    const { cluster, events } = clusterOf("same");
    let isFirst = true;
    const wrap = (inbox: Inbox) =>
      withOperations(inbox, {
        claimWithEachCommit: (claimer, start) =>
          inbox.claimWithEachCommit(claimer, (claim) => {
            if (claim.runs.length > 0 && isFirst) {
              isFirst = false;
              events.onFenced("test");
            }
            start(claim);
          }),
      });
    const calls: unknown[] = [];
    await using bellhop = await dispatching(
      { "user.created": ({ run }) => calls.push(run.attempt) },
      { cluster, wrap },
    );
    await bellhop.send("msg_1");
    await bellhop.reaches("msg_1", "waiting");
    await Bun.sleep(50);
    expect(calls).toEqual([]);
    events.onServers(id, [], true);
    const { attempts } = await bellhop.reaches("msg_1", "done");
    expect(attempts.map(({ outcome }) => outcome)).toEqual(["done"]);
    expect(calls.length).toBe(1);
  },
);

test("a fence ends attempts, and gives them back", async () => {
  const { cluster, events } = clusterOf("same");
  const aborted: unknown[] = [];
  await using bellhop = await dispatching(
    {
      "user.created": async ({ signal, run }) => {
        if (aborted.length > 0) return;
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        aborted.push(run.attempt);
      },
    },
    { cluster },
  );
  await bellhop.send("msg_1");
  await bellhop.reaches("msg_1", "running");
  await Bun.sleep(20);
  events.onFenced("test");
  await until("the abort", () => aborted.length > 0);
  await bellhop.reaches("msg_1", "waiting");
  events.onServers("same", [], true);
  const { attempts } = await bellhop.reaches("msg_1", "done");
  expect(attempts.map(({ outcome }) => outcome)).toEqual(["done"]);
});

test("a server that started between two looks keeps its runs, and so does each one while Postgres can't be asked", async () => {
  const others = [{ id: "started", age: 0, about: ABOUT }];
  let answers = false;
  let looks = 0;
  const { cluster, events } = clusterOf("same", async () => {
    looks += 1;
    if (answers) events.onServers("same", others, false);
    return answers;
  });
  const claimed: string[] = [];
  await using bellhop = await dispatching(
    { "user.created": ({ run }) => claimed.push(`attempt ${run.attempt}`) },
    {
      cluster,
      async before(inbox) {
        await inbox.accept(message("msg_1"), [run("user.created")]);
        await inbox.claim(claimer({ "user.created": 1 }, { owner: "started" }));
      },
    },
  );
  for (answers of [false, true]) {
    const before = looks;
    // The latest look did not find it.
    events.onServers("same", [], false);
    await until("another look", () => looks > before);
    await bellhop.dispatcher.idle();
    expect((await bellhop.run("msg_1")).state).toBe("running");
  }
  // It has died.
  others.length = 0;
  events.onServers("same", [], false);
  await bellhop.reaches("msg_1", "done");
  expect(claimed).toEqual(["attempt 2"]);
});

test("an end that could not be recorded before another server took over the run is not reported", async () => {
  const { cluster, events } = clusterOf("same");
  let calls = 0;
  const wrap = (inbox: Inbox) =>
    withOperations(inbox, {
      async finish(ended, outcome) {
        if (outcome.kind !== "dead") return inbox.finish(ended, outcome);
        calls += 1;
        if (calls > 1) return inbox.finish(ended, outcome);
        // The other server, which has taken over the run.
        await inbox.finish(ended, { kind: "interrupted", delay: 0, exclusive: false });
        events.onFenced("test");
        events.onServers("new", [], true);
        throw new InboxUnavailable(new Error("no answer"));
      },
    });
  let attempts = 0;
  await using bellhop = await dispatching(
    {
      "user.created": () => {
        attempts += 1;
        if (attempts === 1) throw new NonRetriableError("no");
      },
    },
    { cluster, wrap },
  );
  await bellhop.send("msg_1");
  await bellhop.reaches("msg_1", "done");
  await until("the repeated end", () => calls === 2);
  await until("both attempts to have ended", () => bellhop.dispatcher.running === 0);
  const kinds = bellhop.outcomes.map(({ outcome }) => outcome.kind);
  expect(kinds).toContain("done");
  expect(kinds).not.toContain("dead");
});
