// Alerts are grouped, limited, retried, and survive a restart; with several servers, each is sent once.

import { expect, setDefaultTimeout, test } from "bun:test";

import type { Inbox, Outcome } from "../../src/inbox/inbox.ts";
import { openSqliteInbox } from "../../src/inbox/open.ts";
import { type Alert, AlertError } from "../../src/monitor/alert-channels.ts";
import type { AlertTarget } from "../../src/monitor/alert-url.ts";
import { type Alerts, startAlerts, type Watched } from "../../src/monitor/alerts.ts";
import type { Notice } from "../../src/monitor/notices.ts";
import { claimer, CREATED, delivery, problemKey, run } from "../inbox/box.ts";
import { failCommits } from "../inbox/failing-commits.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { until } from "../until.ts";

setDefaultTimeout(20_000);

const target = (name: string): AlertTarget => ({ kind: "slack", name, url: `http://${name}` });
const paused = (handler: string): Notice => ({ kind: "paused", handler, reason: "it fails" });
const RETRIES_MS = [10, 10, 10];

interface Options {
  names?: string[];
  /** Throws to refuse a message. */
  send?: (name: string, alert: Alert) => void | Promise<void>;
  timing?: Parameters<typeof startAlerts>[0]["timing"];
}

function alerting({ names = ["one"], send = () => {}, timing = {} }: Options = {}) {
  const sent: { name: string; alert: Alert }[] = [];
  const failures: { name: string; message: string; retryMs: number | undefined }[] = [];
  const bugs: unknown[] = [];
  let log: string | undefined;
  const alerts = startAlerts({
    targets: names.map(target),
    describe: (error) => (error as Error).message ?? "it fails",
    logTrouble: () => log,
    onFailed: (name, { message }, retryMs) => failures.push({ name, message, retryMs }),
    onBug: (error) => bugs.push(error),
    timing: { gatherMs: 20, intervalMs: 20, retriesMs: RETRIES_MS, pollMs: 10, ...timing },
    async send({ name }, alert) {
      await send(name, alert);
      sent.push({ name, alert });
    },
  });
  return {
    alerts,
    sent,
    failures,
    bugs,
    setLogTrouble: (code: string | undefined) => void (log = code),
    titles: () => sent.flatMap(({ alert }) => alert.message.entries.map(({ title }) => title)),
    [Symbol.asyncDispose]: () => alerts.stop(),
  };
}

test("several notices within the window are one message, for each target", async () => {
  await using monitor = alerting({ names: ["one", "two"], timing: { gatherMs: 100 } });
  for (const handler of ["a", "b", "c"]) monitor.alerts.notify(paused(handler));
  await until("both messages", () => monitor.sent.length === 2);
  expect(monitor.sent.map(({ name, alert }) => [name, alert.notices])).toEqual(
    ["one", "two"].map((name) => [name, ["a", "b", "c"].map(paused)]),
  );
});

test("a message follows the one before after the interval, with all that came meanwhile", async () => {
  await using monitor = alerting({ timing: { gatherMs: 0, intervalMs: 400 } });
  monitor.alerts.notify(paused("first"));
  await until("the first message", () => monitor.sent.length === 1);
  const firstAt = performance.now();
  for (let n = 0; n < 50; n += 1) monitor.alerts.notify(paused(`later_${n}`));
  await until("the second message", () => monitor.sent.length === 2);
  expect(performance.now() - firstAt).toBeGreaterThan(350);
  expect(monitor.sent[1]!.alert.notices).toHaveLength(50);
});

test("retries with the same id, keeps later notices for the next message, and reports the failure", async () => {
  const ids: string[] = [];
  let isDown = true;
  await using monitor = alerting({
    names: ["down", "up"],
    send(name, { id }) {
      if (name === "up") return;
      ids.push(id);
      if (isDown) throw new AlertError("it answered 503", true);
    },
    timing: { retriesMs: Array.from({ length: 1_000 }, () => 10) },
  });
  monitor.alerts.notify(paused("first"));
  await until("three tries", () => ids.length >= 3);
  expect(new Set(ids).size).toBe(1);
  expect(monitor.alerts.failing).toEqual(["down"]);
  expect(monitor.sent.map(({ name }) => name)).toEqual(["up"]);
  monitor.alerts.notify(paused("second"));
  isDown = false;
  await until("both messages", () => monitor.sent.filter(({ name }) => name === "down").length === 2);
  expect(monitor.alerts.failing).toEqual([]);
  expect(monitor.failures[0]).toEqual({ name: "down", message: "it answered 503", retryMs: 10 });
});

test("drops a message after the last try, at once after a permanent failure, and waits as long as it is asked to", async () => {
  const answers = [new AlertError("busy", true, 50), ...RETRIES_MS.map(() => new AlertError("down", true))];
  await using monitor = alerting({
    send() {
      const error = answers.shift();
      if (error) throw error;
    },
  });
  monitor.alerts.notify(paused("dropped"));
  await until("the last try", () => monitor.failures.some(({ retryMs }) => retryMs === undefined));
  expect(monitor.failures.map(({ retryMs }) => retryMs)).toEqual([50, 10, 10, undefined]);
  answers.push(new AlertError("it answered 404", false));
  monitor.alerts.notify(paused("refused"));
  await until("the refusal", () => monitor.failures.length === 5);
  expect(monitor.failures[4]!.retryMs).toBeUndefined();
  monitor.alerts.notify(paused("accepted"));
  await until("the next message", () => monitor.sent.length === 1);
  expect(monitor.sent[0]!.alert.notices).toEqual([paused("accepted")]);
});

test("a stop sends what waits", async () => {
  const monitor = alerting({ timing: { gatherMs: 60_000 } });
  monitor.alerts.notify(paused("a"));
  await monitor.alerts.stop();
  expect(monitor.sent).toHaveLength(1);
  monitor.alerts.notify(paused("b"));
  await monitor.alerts.stop();
  expect(monitor.sent).toHaveLength(1);
});

test("without a target, nothing is watched", async () => {
  await using monitor = alerting({ names: [] });
  monitor.alerts.notify(paused("a"));
  monitor.alerts.watch(undefined as never);
  expect(monitor.alerts.failing).toEqual([]);
});

function watched(inbox: Inbox, id = "owner-1", alive = [id], isFirst = true) {
  const troubles: { inbox?: Error; database?: Error } = {};
  const parts: Watched = {
    inbox: {
      problems: inbox.problems,
      get trouble() {
        return troubles.inbox;
      },
    },
    effects: {
      get trouble() {
        return troubles.database;
      },
    },
    cluster: { id, fenced: undefined, alive: async () => new Set(alive), isFirst: () => isFirst },
  };
  return { parts, troubles };
}

async function failOnce(inbox: Inbox, id: string, name: string, kind: "retry" | "dead" = "dead") {
  await inbox.accept(delivery(id, { subject: id }), [run(CREATED)]);
  const { runs } = await inbox.claim(claimer({ [CREATED]: 1 }));
  const problem = problemKey(name);
  const record = { startedAt: Date.now(), took: 3 };
  const outcome: Outcome =
    kind === "dead"
      ? { kind, record, reason: "enough", problem }
      : { kind, record, delay: 3_600_000, exclusive: false, problem };
  await inbox.finish(runs[0]!, outcome);
}

async function openInbox() {
  await using opened = new AsyncDisposableStack();
  const { path } = opened.use(await temporaryFolder());
  const inbox = opened.use(await openSqliteInbox(path));
  const held = opened.move();
  return { inbox, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

test("an outage is one message when it begins and one when it ends", async () => {
  await using opened = await openInbox();
  await using monitor = alerting();
  const { parts, troubles } = watched(opened.inbox);
  monitor.alerts.unavailable(new Error("no answer"));
  await until("the outage at the start", () => monitor.sent.length === 1);
  monitor.alerts.watch(parts);
  await until("its end", () => monitor.sent.length === 2);
  troubles.database = new Error("it does not answer");
  await until("the database's outage", () => monitor.sent.length === 3);
  troubles.database = new Error("another error of the same outage");
  await Bun.sleep(100);
  delete troubles.database;
  await until("its end", () => monitor.sent.length === 4);
  monitor.setLogTrouble("ENOSPC");
  await until("the log's outage", () => monitor.sent.length === 5);
  expect(monitor.titles().map((title) => title.replace(/after .*/, "after …"))).toEqual([
    "Deliveries can't be stored: no answer",
    "Deliveries are stored again, after …",
    "Handlers can't reach their database: it does not answer",
    "Handlers reach their database again, after …",
    "The log can't be written: it fails",
  ]);
});

test("many failures of one problem are one message, and its news are reported once", async () => {
  await using opened = await openInbox();
  await using monitor = alerting({ timing: { gatherMs: 300 } });
  for (let n = 0; n < 30; n += 1) await failOnce(opened.inbox, `msg_${n}`, "a", n % 2 ? "dead" : "retry");
  monitor.alerts.watch(watched(opened.inbox).parts);
  await until("the message", () => monitor.sent.length === 1);
  const [notice] = monitor.sent[0]!.alert.notices;
  expect(monitor.sent[0]!.alert.notices).toHaveLength(1);
  expect(notice).toMatchObject({
    kind: "problem",
    changes: ["new", "10 times", "dead"],
    problem: { id: "p_a", runs: { dead: 15, retrying: 15 }, subjects: 30 },
  });
  await until("the inbox to forget them", async () =>
    (await opened.inbox.problems.takeNews("owner-2", async () => new Set())).length === 0 ? true : undefined,
  );
  await failOnce(opened.inbox, "msg_next", "a");
  await Bun.sleep(500);
  expect(monitor.sent).toHaveLength(1);
  expect(monitor.bugs).toEqual([]);
});

test("an outage of the inbox after a message was sent keeps no later news of the problem from people", async () => {
  await using opened = await openInbox();
  await using monitor = alerting();
  const { parts } = watched(opened.inbox);
  let failures = 0;
  const newsReported: typeof opened.inbox.problems.newsReported = (...args) => {
    const report = () => opened.inbox.problems.newsReported(...args);
    failures += 1;
    return failures === 1 ? failCommits({ count: 1, durable: false }, report) : report();
  };
  monitor.alerts.watch({ ...parts, inbox: { ...parts.inbox, problems: { ...opened.inbox.problems, newsReported } } });
  await failOnce(opened.inbox, "msg_1", "a", "retry");
  await until("the report after the outage", () => failures === 2);
  await failOnce(opened.inbox, "msg_2", "a", "dead");
  const changes = () =>
    monitor.sent.flatMap(({ alert }) =>
      alert.notices.flatMap((notice) => (notice as { changes?: string[] }).changes ?? []),
    );
  await until("the next message", () => changes().includes("dead"));
  // At least once: the inbox did not remember the first report.
  expect(changes()).toEqual(["new", "new", "dead"]);
});

test("news that a stopped server could not send are sent by the next one", async () => {
  await using opened = await openInbox();
  await failOnce(opened.inbox, "msg_1", "a");
  const down = alerting({
    send() {
      throw new AlertError("down", true);
    },
    timing: { retriesMs: [60_000] },
  });
  down.alerts.watch(watched(opened.inbox).parts);
  await until("a failed try", () => down.failures.length > 0);
  await down.alerts.stop();
  await using next = alerting();
  next.alerts.watch(watched(opened.inbox, "owner-2").parts);
  await until("the message", () => next.sent.length === 1);
  expect(next.sent[0]!.alert.notices).toMatchObject([{ problem: { id: "p_a" } }]);
});

test("of several servers, one reports an outage, and one reports each problem", async () => {
  await using opened = await openInbox();
  await using stack = new AsyncDisposableStack();
  const servers = ["owner-1", "owner-2", "owner-3"].map((id, index) => {
    const monitor = stack.use(alerting());
    const alive = ["owner-1", "owner-2", "owner-3"];
    // While servers come and go, two of them may regard themselves as the first.
    const { parts, troubles } = watched(opened.inbox, id, alive, index < 2);
    monitor.alerts.watch(parts);
    return { monitor, troubles };
  });
  for (const name of ["a", "b", "c"]) await failOnce(opened.inbox, `msg_${name}`, name);
  const sent = () => servers.flatMap(({ monitor }) => monitor.sent.flatMap(({ alert }) => alert.notices));
  await until("three problems", () => sent().length >= 3);
  for (const { troubles } of servers) troubles.inbox = new Error("it does not answer");
  await until("the outage", () => sent().some(({ kind }) => kind === "outage"));
  await Bun.sleep(200);
  const problems = sent().flatMap((notice) => (notice.kind === "problem" ? [notice.problem.id] : []));
  expect(problems.toSorted()).toEqual(["p_a", "p_b", "p_c"]);
  expect(servers[2]!.monitor.sent).toEqual([]);
});

test("a bug while news are taken is logged, and other notices are sent", async () => {
  await using opened = await openInbox();
  await using monitor = alerting();
  const { parts } = watched(opened.inbox);
  const broken: Alerts = monitor.alerts;
  broken.watch({
    ...parts,
    inbox: {
      ...parts.inbox,
      problems: { ...opened.inbox.problems, takeNews: () => Promise.reject(new TypeError("a bug")) },
    },
  });
  await until("the bug", () => monitor.bugs.length > 0);
  monitor.alerts.notify(paused("a"));
  await until("the message", () => monitor.sent.length === 1);
});
