// A paused handler's runs wait and spend nothing; the breaker pauses a handler, tries one run, and resumes it.

import { expect, test } from "bun:test";

import { type Cluster, singleServer } from "../../src/cluster/cluster.ts";
import { at } from "../inbox/box.ts";
import { until } from "../until.ts";
import { dispatching } from "./dispatching.ts";

const CRM = "user.created/crm";

test("runs of a paused handler wait, others run, and they run in order when it is resumed", async () => {
  const called: string[] = [];
  const call = (name: string) => () => called.push(name);
  await using bellhop = await dispatching({
    "user.created": call("created"),
    [CRM]: call("crm"),
    "user.updated/crm": call("crm updated"),
  });
  expect(await bellhop.dispatcher.pauses.pause(CRM, "the CRM migrates")).toBe(true);
  expect(await bellhop.dispatcher.pauses.pause(CRM, null)).toBe(false);
  await bellhop.send("created", { subject: "user_1" });
  await bellhop.send("updated", { subject: "user_1", type: "user.updated", at: at(5) });
  await bellhop.send("other", { subject: "user_2", type: "user.updated" });
  await bellhop.reaches("other", "done");
  await bellhop.dispatcher.idle();
  expect(called.toSorted()).toEqual(["created", "crm updated"]);
  expect(await bellhop.run("created", 1)).toMatchObject({ handler: CRM, state: "waiting", attempts: [] });
  expect(bellhop.dispatcher.pauses.list()).toMatchObject([
    { handler: CRM, cause: "person", reason: "the CRM migrates", probeAt: null },
  ]);
  expect(await bellhop.dispatcher.pauses.resume(CRM)).toBe(true);
  await bellhop.reaches("updated", "done");
  expect(called.slice(2)).toEqual(["crm", "crm updated"]);
  expect(bellhop.pauses).toEqual([`paused ${CRM}`, `resumed ${CRM}`]);
});

test("a pause whose effect could not be read back is read again", async () => {
  let failures = 0;
  await using bellhop = await dispatching(
    { "user.created": () => {} },
    {
      wrap: (inbox) => ({
        ...inbox,
        pauses: {
          ...inbox.pauses,
          list: () => ((failures -= 1) >= 0 ? Promise.reject(new Error("the disk failed")) : inbox.pauses.list()),
        },
      }),
    },
  );
  failures = 1;
  expect(bellhop.dispatcher.pauses.pause("user.created", null)).rejects.toThrow("the disk failed");
  await until("the pause to be known", () => bellhop.dispatcher.pauses.list().length === 1);
  await bellhop.send("msg_1");
  await bellhop.dispatcher.idle();
  expect(await bellhop.run("msg_1")).toMatchObject({ state: "waiting", attempts: [] });
});

test("claimed runs that have not started are given back, and the running one ends", async () => {
  const { promise: opened, resolve: open } = Promise.withResolvers<void>();
  const called: string[] = [];
  await using bellhop = await dispatching(
    { "user.created": ({ data }) => opened.then(() => called.push(String(data.id))) },
    { concurrency: 1 },
  );
  // A fast handler's runs are claimed ahead.
  const first = bellhop.send("msg_0");
  open();
  await first;
  for (let n = 1; n <= 20; n += 1) await bellhop.send(`msg_${n}`);
  await until("all to run", () => called.length === 21);
  await Promise.all(Array.from({ length: 60 }, (_, n) => bellhop.send(`more_${n}`)));
  await bellhop.dispatcher.pauses.pause("user.created", null);
  await bellhop.dispatcher.idle();
  const ran = called.length;
  for (let n = 0; n < 60; n += 1) {
    const { state, attempts } = await bellhop.run(`more_${n}`);
    if (state !== "done") expect({ state, attempts }).toEqual({ state: "waiting", attempts: [] });
  }
  await bellhop.send("later");
  await bellhop.dispatcher.idle();
  expect(called).toHaveLength(ran);
  await bellhop.dispatcher.pauses.resume("user.created");
  await until("all to run", () => called.length === 82);
});

test("a pause is in effect from the start of the next server", async () => {
  let calls = 0;
  await using bellhop = await dispatching(
    { "user.created": () => (calls += 1) },
    { before: async (inbox) => void (await inbox.pauses.pause("user.created", "person", null, null)) },
  );
  await bellhop.send("msg_1");
  await bellhop.dispatcher.idle();
  expect(calls).toBe(0);
  expect(bellhop.pauses).toEqual(["paused user.created elsewhere"]);
});

test("another server of the inbox notices a pause and its end within about a second", async () => {
  let calls = 0;
  const cluster: Cluster = { ...singleServer(), isShared: true };
  await using bellhop = await dispatching({ "user.created": () => (calls += 1) }, { cluster });
  await bellhop.inbox.pauses.pause("user.created", "person", null, null);
  await until("the server to notice it", () => bellhop.pauses.length === 1);
  await bellhop.send("msg_1");
  await bellhop.dispatcher.idle();
  expect(calls).toBe(0);
  await bellhop.inbox.pauses.resume("user.created");
  await bellhop.reaches("msg_1", "done");
  expect(bellhop.pauses).toEqual(["paused user.created elsewhere", "resumed user.created elsewhere"]);
});

test("the breaker pauses a handler, tries one run at a time, and resumes it when one succeeds", async () => {
  let isDown = true;
  const called: string[] = [];
  await using bellhop = await dispatching(
    {
      "user.created": ({ data }) => {
        called.push(String(data.id));
        if (isDown) throw new Error("the CRM answered 503");
      },
      "user.created/mail": () => undefined,
    },
    { breaker: { after: 3, probeMs: 300 }, concurrency: 1 },
  );
  for (let n = 0; n < 10; n += 1) await bellhop.send(`msg_${n}`);
  await until("the breaker to trip", () => bellhop.pauses.length === 1);
  const [paused] = bellhop.dispatcher.pauses.list();
  expect(paused).toMatchObject({ cause: "breaker", reason: expect.stringContaining("the CRM answered 503") });
  const probed = await bellhop.reaches("msg_3", ({ attempts }) => attempts.length > 0);
  expect(probed).toMatchObject({ state: "waiting", attempts: [{ outcome: "postponed" }] });
  // Its handler fails, but its runs spend nothing.
  await until("another probe", () => called.length > 4);
  expect(new Set(called).size).toBe(called.length);
  const held = await bellhop.run("msg_9");
  expect(held).toMatchObject({ state: "waiting", attempts: [] });
  isDown = false;
  await bellhop.reaches("msg_9", "done");
  expect(bellhop.pauses).toEqual(["paused user.created", "resumed user.created"]);
  expect(bellhop.dispatcher.pauses.list()).toEqual([]);
  const mailed = bellhop.outcomes.filter(({ run }) => run.handler === "user.created/mail");
  expect(mailed.map(({ outcome }) => outcome.kind)).toEqual(Array.from({ length: 10 }, () => "done"));
});

test("breaker: false keeps a handler running", async () => {
  const fail = () => {
    throw new Error("no");
  };
  await using bellhop = await dispatching(
    { "user.created": [{ breaker: false, attempts: 1 }, fail], [CRM]: [{ attempts: 1 }, fail] },
    { breaker: { after: 3 } },
  );
  for (let n = 0; n < 6; n += 1) await bellhop.send(`msg_${n}`);
  await until("the other one to be paused", () => bellhop.pauses.length > 0);
  for (let n = 0; n < 6; n += 1) await bellhop.reaches(`msg_${n}`, "dead");
  expect(bellhop.pauses).toEqual([`paused ${CRM}`]);
});
