// The API's problems: lists, one problem, common values, muting, and the replay of its dead runs.

import { expect, test } from "bun:test";

import { commonValues } from "../../src/api/common-values.ts";
import type { CommonValuesJson, DeliveryJson, DeliveryList, ProblemsJson, ProblemView } from "../../src/api/types.ts";
import { until } from "../harness.ts";
import { inspected } from "../inspector/inspected.ts";

const HANDLER = `import { on } from "bellhop";
export default on("user.created", { attempts: 1 }, ({ data }) => {
  if (!data.primary_email_address_id) throw new Error(data.id + " has no address");
});
`;

test("lists a problem with its line of code, compares its deliveries, and replays its dead runs", async () => {
  await using bellhop = await inspected({
    "user.created.ts": HANDLER,
    "user.created/log.ts": "export default () => {};",
  });
  const send = async (id: string, data: object) => {
    await bellhop.post({ type: "user.created", object: "event", data, timestamp: Date.now() }, { id });
    await bellhop.ended(id);
  };
  for (const n of [1, 2, 3])
    await send(`msg_${n}`, { id: `user_${n}000000`, locked: false, primary_email_address_id: null });
  for (const n of [4, 5])
    await send(`msg_${n}`, { id: `user_${n}000000`, locked: n === 4, primary_email_address_id: "idn_1" });
  const { problems } = await bellhop.json<ProblemsJson>("/api/problems");
  expect(problems).toMatchObject([
    {
      handler: "user.created",
      state: "open",
      name: "Error",
      message: "user_… has no address",
      place: "handlers/user.created.ts:3",
      source: 'if (!data.primary_email_address_id) throw new Error(data.id + " has no address");',
      runs: { dead: 3, retrying: 0, done: 0 },
      subjects: 3,
      newest: "msg_3",
    },
  ]);
  const { id } = problems[0]!;
  expect((await bellhop.json<ProblemView>(`/api/problems/${id}`)).days.at(-1)).toBe(3);
  const common = await bellhop.json<CommonValuesJson>(`/api/problems/${id}/common`);
  expect(common).toEqual({
    failed: 3,
    done: 2,
    values: [{ path: "primary_email_address_id", value: "null", failed: 3, done: 0 }],
  });

  const listed = await bellhop.json<DeliveryList>(`/api/deliveries?problem=${id}&state=dead&limit=2`);
  expect(listed.deliveries.map((delivery) => delivery.id)).toEqual(["msg_3", "msg_2"]);
  expect(await bellhop.json(`/api/replays?problem=${id}`)).toMatchObject({ found: 3 });

  const answer = await bellhop.write(`/api/problems/${id}/mute?muted=true`);
  expect(await answer.json()).toEqual({ muted: true });
  expect(await bellhop.json<ProblemsJson>("/api/problems")).toEqual({ problems: [] });
  expect(await bellhop.json<ProblemsJson>("/api/problems?state=muted")).toMatchObject({ problems: [{ id }] });

  const frameOf = async () => (await bellhop.json<DeliveryJson>("/api/deliveries/msg_3")).runs[0]?.attempts[0]?.frame;
  const then = { file: "handlers/user.created.ts", line: 3 };
  expect(await frameOf()).toMatchObject(then);
  expect((await frameOf())?.savedSince).toBeUndefined();

  await Bun.write(`${bellhop.folder}/handlers/user.created.ts`, "export default () => {\n\n\n};\n");
  // The lines as they were when it threw.
  await until("the saved file", async () => (await frameOf())?.savedSince);
  expect(await frameOf()).toMatchObject({ ...then, source: [1, 2, 3, 4, 5].map((number) => ({ number })) });
  expect((await frameOf())?.source[2]?.text).toContain("has no address");
  await until("the fixed handler", async () => {
    const found = await bellhop.json<{ name: string; options: object }[]>("/api/handlers");
    return found.some(({ name, options }) => name === "user.created" && Object.keys(options).length === 0);
  });
  expect((await bellhop.write(`/api/bulk?problem=${id}`)).status).toBe(200);
  const resolved = await until("the replays", async () => {
    const problem = await bellhop.json<ProblemView>(`/api/problems/${id}`);
    return problem.state === "resolved" ? problem : undefined;
  });
  expect(resolved.runs).toEqual({ dead: 0, retrying: 0, done: 3, skipped: 0 });
  // Only the handler that failed ran again.
  const { runs } = await bellhop.ended("msg_1");
  expect(runs.map(({ handler }) => handler).toSorted()).toEqual(["user.created", "user.created", "user.created/log"]);
});

test("while a file does not load, its lines are not taken for those of the version that still runs", async () => {
  await using bellhop = await inspected({ "user.created.ts": HANDLER });
  await Bun.write(`${bellhop.folder}/handlers/user.created.ts`, "\n\nconst = 1;\n");
  await until("the broken file", async () => {
    const found = await bellhop.json<{ error?: unknown }[]>("/api/handlers");
    return found.some(({ error }) => error);
  });
  const data = { id: "user_1000000", primary_email_address_id: null };
  await bellhop.post({ type: "user.created", object: "event", data, timestamp: Date.now() }, { id: "msg_1" });
  await bellhop.ended("msg_1");
  const { runs } = await bellhop.json<DeliveryJson>("/api/deliveries/msg_1");
  expect(runs[0]?.attempts[0]?.frame).toMatchObject({ file: "handlers/user.created.ts", line: 3, changed: true });
  const { problems } = await bellhop.json<ProblemsJson>("/api/problems");
  expect(problems).toMatchObject([{ place: "handlers/user.created.ts:3", source: null }]);
});

test("an unknown problem gives 404, and a wrong state 422", async () => {
  await using bellhop = await inspected();
  for (const path of ["/api/problems/p_0", "/api/problems/p_0/common"])
    expect((await bellhop.get(path)).status).toBe(404);
  expect((await bellhop.write("/api/problems/p_0/mute?muted=true")).status).toBe(404);
  expect((await bellhop.get("/api/problems?state=broken")).status).toBe(422);
});

const body = (data: object) => JSON.stringify({ type: "user.created", data });

test("finds the values that distinguish failed deliveries, wherever they are", () => {
  const failed = [1, 2, 3].map((n) =>
    body({ id: n, plan: { name: "free" }, locales: ["en", "tr"], phones: [], secret: "x" }),
  );
  const done = [4, 5].map((n) => body({ id: n, plan: { name: "pro" }, locales: ["en"], phones: [{ n }], secret: "y" }));
  expect(commonValues(failed, done)).toEqual({
    failed: 3,
    done: 2,
    values: [
      { path: "phones", value: "[]", failed: 3, done: 0 },
      { path: "plan.name", value: '"free"', failed: 3, done: 0 },
      { path: "locales[]", value: '"tr"', failed: 3, done: 0 },
    ],
  });
  expect(commonValues(failed, []).values).toEqual([]);
  expect(commonValues([failed[0]!], done).values).toEqual([]);
});
