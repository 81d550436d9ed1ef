import { expect, test } from "bun:test";

import { costOfACall, reload } from "../bench/reload.ts";

test("50 reloads under load lose no delivery and run none twice", async () => {
  const { accepted, lost, twice } = await reload(50);
  expect(accepted).toBeGreaterThan(50);
  expect({ lost, twice }).toEqual({ lost: [], twice: [] });
}, 60_000);

test("a run through the graph of its version costs microseconds", async () => {
  const { graph } = await costOfACall(20_000);
  expect(graph).toBeLessThan(50);
});
