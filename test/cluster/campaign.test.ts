import { expect, test } from "bun:test";

import { openStore } from "../crash/stores.ts";
import { noPostgres } from "../postgres.ts";
import { clusterCampaign, describeCluster } from "./campaign.ts";

// About half a minute. `bun run cluster` has more faults, and repeats them.
const FAULTS = ["killed, survived", "cut off", "killed", "deployed"];

if (noPostgres) console.log(`skipped: ${noPostgres}`);
test.skipIf(noPostgres !== undefined)(
  "three servers lose, double and reorder nothing while they are killed, cut off and deployed",
  async () => {
    await using store = await openStore("postgres");
    const seed = Math.floor(Math.random() * 1_000_000);
    const result = await clusterCampaign({ seconds: 0, seed, store, first: FAULTS });
    console.log(describeCluster(seed, result));
    expect(result.violations).toEqual([]);
    expect(result.accepted).toBeGreaterThan(200);
    expect(result.snapshots).toBeGreaterThan(50);
    expect(result.takeovers.length).toBeGreaterThan(0);
  },
  300_000,
);
