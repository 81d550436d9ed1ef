// `bun problems`, `bun replay --problem` and `bun alert --test` with a real server, whose alerts a webhook receives.

import { expect, setDefaultTimeout, test } from "bun:test";

import { Webhook } from "svix";

import { describeProblem, describeProblems } from "../../src/cli/problems.ts";
import type { ProblemView } from "../../src/problems/problem-views.ts";
import { post, runCommand, temporaryFolder, until, writeHandlers } from "../harness.ts";
import { httpReceiver } from "../monitor/receivers.ts";
import { devWith } from "./dev-server.ts";

// Each test starts processes, which is slow on a busy machine.
setDefaultTimeout(60_000);

const ALERT_SECRET = `whsec_${Buffer.alloc(24, 7).toString("base64")}`;
const handler = (body: string) => `import { on } from "bellhop";
export default on("user.created", { attempts: 1 }, ({ data }) => {
  ${body}
});`;
const FAILS = handler(`if (data.first_name === null) throw new TypeError(data.id + " has no name");`);

test.concurrent("failures become a problem and an alert; a fix and a replay resolve it", async () => {
  using receiver = httpReceiver();
  const env = { ALERT_URLS: receiver.url, ALERT_SECRET };
  await using dev = await devWith({ "user.created.ts": FAILS, "user.created/log.ts": "export default () => {};" }, env);
  for (const n of [1, 2, 3, 4]) {
    const data = { id: `user_${n}12345678`, first_name: n > 2 ? "Ada" : null };
    await post(
      dev.server.url,
      { type: "user.created", object: "event", data, timestamp: Date.now() },
      { id: `msg_${n}` },
    );
  }
  const { id } = await until("the problem", async () => {
    const { problems } = JSON.parse((await dev.bellhop("problems", "--json")).stdout) as { problems: ProblemView[] };
    return problems[0]?.runs.dead === 2 ? problems[0] : undefined;
  });
  const list = (await dev.bellhop("problems")).stdout;
  expect(list).toContain(`✗ ${id}  user.created  2 dead, 2 subjects`);
  expect(list).toContain("TypeError: user_… has no name");
  expect(list).toContain(
    'handlers/user.created.ts:3  if (data.first_name === null) throw new TypeError(data.id + " has no',
  );
  const one = (await dev.bellhop("problems", id)).stdout;
  expect(one).toContain("first_name: null  in 2 of 2 that failed, 0 of 2 that are done");
  expect(one).toContain(`bun replay --problem ${id}`);
  expect((await dev.bellhop("deliveries", "--problem", id)).stdout.match(/msg_\d/g)).toEqual(["msg_2", "msg_1"]);

  const request = await until("the alert", () => receiver.requests[0], 30_000);
  new Webhook(ALERT_SECRET).verify(request.body, Object.fromEntries(request.headers));
  expect(JSON.parse(request.body)).toMatchObject({
    data: {
      title: "New problem in user.created: TypeError: user_… has no name",
      notices: [{ kind: "problem", problem: { id, runs: { dead: 2 } } }],
    },
  });

  expect((await dev.bellhop("problems", id, "--mute")).stdout).toContain("is muted");
  expect((await dev.bellhop("problems")).stdout).toContain("No problem is open.");
  expect((await dev.bellhop("problems", "--state", "muted")).stdout).toContain(id);
  const unmuted = await dev.bellhop("problems", id, "--unmute", "--json");
  expect(JSON.parse(unmuted.stdout)).toEqual({ id, muted: false });

  await writeHandlers(dev.path, { "user.created.ts": handler("") });
  const replayed = await until("the fixed handler", async () => {
    const counted = await dev.bellhop("replay", "--problem", id, "--dry-run");
    if (!counted.stdout.includes(`2 runs died of ${id}`)) throw new Error(counted.stdout + counted.stderr);
    const done = await dev.bellhop("replay", "--problem", id, "--yes");
    return done.exitCode === 0 ? done : undefined;
  });
  expect(replayed.stdout).toContain("2 done, 0 dead");
  expect((await dev.bellhop("problems")).stdout).toContain("No problem is open.");
  expect((await dev.bellhop("problems", "--state", "resolved")).stdout).toContain(
    `✓ ${id}  user.created  resolved, 2 done`,
  );

  receiver.requests.length = 0;
  const tested = await dev.bellhop("alert", "--test");
  expect([tested.exitCode, tested.stdout]).toEqual([0, "✓ 127.0.0.1 (webhook) accepted it\n"]);
  expect(JSON.parse(receiver.requests[0]!.body).data.notices).toMatchObject([{ kind: "test" }]);
  receiver.answers.push({ status: 403 });
  const refused = await dev.bellhop("alert", "--test");
  expect([refused.exitCode, refused.stdout]).toEqual([1, "✗ 127.0.0.1 (webhook): it answered 403\n"]);
});

test.concurrent("wrong arguments are refused with a remedy", async () => {
  await using folder = await temporaryFolder();
  const refused: [args: string[], message: string][] = [
    [["problems", "--state", "opne"], "There is no state opne; did you mean open?"],
    [["problems", "--mute"], "--mute needs a problem"],
    [["problems", "p_1", "--mute", "--unmute"], "contradict each other"],
    [["alert", "--test"], "ALERT_URLS is not set"],
    [["replay", "--problem", "p_1", "--missing", "--handler", "user.created"], "can't be combined with --missing"],
    [["replay", "msg_1", "--problem", "p_1"], "--problem is for many"],
  ];
  for (const [args, message] of refused) {
    const { exitCode, stderr } = await runCommand(folder.path, args);
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining(message)]);
  }
});

const problem: ProblemView = {
  id: "p_1", handler: "user.created", name: "Error", message: "no", place: null, source: null, state: "open", muted: true,
  failures: 1_234, runs: { dead: 10_000, retrying: 0, done: 0, skipped: 0 }, subjects: 1, more: true, firstAt: 0, lastAt: 0,
  resolvedAt: null, regressedAt: 86_400_000, newest: "msg_1", days: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 4, 7],
}; // prettier-ignore

test("describes a problem without a line of code, with a trend, in safe text", () => {
  const now = 2 * 86_400_000;
  expect(describeProblems([{ ...problem, message: "\x1b[2Jno" }], "open", now).split("\n")).toEqual([
    "✗ p_1  user.created  10,000+ dead, 1 subject, last 2 d ago, muted",
    String.raw`    Error: \x1b[2Jno`,
    "    no line of yours was running",
    "    ▁▁▁▁▁▁▁▁▁▁▁▂▅█  1,234 failures",
  ]);
  expect(describeProblem(problem, { failed: 0, done: 0, values: [] }, now)).toContain("regressed 1970-01-02 00:00:00Z");
  expect(describeProblems([], "resolved", now)).toBe("No problem is resolved.");
});
