// The address of a tunnel that another connection has: it is kept where possible, and its loss reported.

import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { makeToken } from "../../src/cli/relay-frames.ts";
import { temporaryFolder, until } from "../harness.ts";
import { fakeClock } from "./fake-clock.ts";
import { startRelay } from "./stand-in-relay.ts";
import { tokenIn, tokenOf, tunnelTo } from "./tunnelled.ts";

test("an address that an earlier connection still holds is kept", async () => {
  await using relay = startRelay();
  await using folder = await temporaryFolder();
  const token = makeToken();
  await Bun.write(join(folder.path, "tunnel.json"), JSON.stringify({ token }));
  const release = relay.occupy(token);
  const clock = fakeClock();
  await using tunnel = tunnelTo(folder.path, relay, { clock });
  await until("the collision", () => tunnel.lines.length === 1);
  expect(tunnel.lines[0]).toContain(`https://play.svix.com/in/${token}/ is in use by another connection`);
  // The relay notices after a minute that the earlier connection is dead.
  for (let seconds = 0; seconds < 60; seconds += 5) {
    await until("the next try to be planned", () => clock.dueIn() <= 5_000);
    clock.advance(5_000);
  }
  await until("the next try to be planned", () => clock.dueIn() <= 5_000);
  release();
  clock.advance(5_000);
  await tunnel.address();
  expect(tunnel.addresses).toEqual([`https://play.svix.com/in/${token}/`]);
  expect(tunnel.lines).toHaveLength(1);
  expect(tokenIn(folder.path)).toBe(token);
});

test("an address that another client keeps is replaced after a while, and its loss reported", async () => {
  await using relay = startRelay();
  await using folder = await temporaryFolder();
  const token = makeToken();
  await Bun.write(join(folder.path, "tunnel.json"), JSON.stringify({ token }));
  relay.occupy(token);
  const clock = fakeClock();
  await using tunnel = tunnelTo(folder.path, relay, { clock });
  await until("another address", () => {
    // A later timer is the check of a connection that opens now.
    if (clock.dueIn() <= 5_000) clock.advance(5_000);
    return tunnel.addresses[0];
  });
  expect(clock.now()).toBeGreaterThanOrEqual(90_000);
  const [address = ""] = tunnel.addresses;
  expect(tokenOf(address)).not.toBe(token);
  expect(tunnel.lines).toEqual([
    expect.stringContaining(`${token}/ is in use by another connection`),
    `warning: the tunnel's address https://play.svix.com/in/${token}/ is lost: another client holds it. ` +
      `Replace it in the Dashboard by ${address}`,
  ]);
  expect(tokenIn(folder.path)).toBe(tokenOf(address));
});

test("two copies of a project that take the address from each other end with two addresses", async () => {
  await using relay = startRelay({ newestWins: true });
  await using folders = await temporaryFolder();
  const token = makeToken();
  const clocks = [fakeClock(), fakeClock()];
  const tunnels = clocks.map((clock, index) => {
    const dataDir = join(folders.path, String(index));
    mkdirSync(dataDir);
    writeFileSync(join(dataDir, "tunnel.json"), JSON.stringify({ token }));
    return tunnelTo(dataDir, relay, { clock });
  });
  await using first = tunnels[0]!;
  await using second = tunnels[1]!;
  await until("another address", () => {
    for (const clock of clocks) if (clock.dueIn() <= 5_000) clock.advance(5_000);
    return first.addresses[1] ?? second.addresses[1];
  });
  await until("both addresses", () => relay.tokens().length === 2);
  expect(Math.min(...clocks.map((clock) => clock.now()))).toBeLessThan(200_000);
  const lines = [...first.lines, ...second.lines];
  expect(lines.filter((line) => line.includes("is in use by another connection")).length).toBeGreaterThan(0);
  expect(lines.filter((line) => line.includes(`in/${token}/ is lost`)).length).toBeGreaterThan(0);
});

test("a first token that another client has is replaced without a report", async () => {
  await using relay = startRelay();
  await using folder = await temporaryFolder();
  relay.refuseNext = 1;
  await using tunnel = tunnelTo(folder.path, relay);
  expect(relay.registrations).toEqual([tokenOf(await tunnel.address())]);
  expect(tunnel.lines).toEqual([]);
});
