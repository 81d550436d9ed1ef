// `bun dev --tunnel` against a stand-in for Svix's relay, with a real server behind it.

import { expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";

import { sample } from "../../src/clerk/samples.ts";
import { serverWith, signed, signedBytes, temporaryFolder, until } from "../harness.ts";
import { startProxy } from "../proxy.ts";
import { fakeClock } from "./fake-clock.ts";
import { startRelay } from "./stand-in-relay.ts";
import { gateTo, tokenIn, tokenOf, tunnelTo } from "./tunnelled.ts";

const HANDLER = { "user.created.ts": "export default () => {};" };
const EVENT = JSON.stringify(sample("user.created"));

test("a sender at the public address gets the server's own status and body", async () => {
  await using relay = startRelay();
  await using server = await serverWith(HANDLER);
  await using tunnel = tunnelTo(server.dataDir, relay, { webhookUrl: server.url });
  const token = tokenOf(await tunnel.address());
  expect(relay.tokens()).toEqual([token]);

  const accepted = await relay.post(token, EVENT, signed(EVENT, { id: "msg_1" }));
  expect([accepted.status, await accepted.json()]).toEqual([200, { id: "msg_1", status: "accepted" }]);
  expect((await server.ended("msg_1")).runs).toMatchObject([{ state: "done", handler: "user.created" }]);
  const again = await relay.post(token, EVENT, signed(EVENT, { id: "msg_1" }));
  expect(await again.json()).toMatchObject({ status: "duplicate", runs: { "user.created": "done" } });

  const forged = await relay.post(token, EVENT, { ...signed(EVENT), "svix-signature": "v1,AAAA" });
  expect([forged.status, Object.keys((await forged.json()) as object)]).toEqual([400, ["error"]]);
  const large = "x".repeat(1_100_000);
  expect((await relay.post(token, large, signed(large))).status).toBe(413);
});

test("the bytes of a body arrive unchanged", async () => {
  await using relay = startRelay();
  await using server = await serverWith(HANDLER);
  await using tunnel = tunnelTo(server.dataDir, relay, { webhookUrl: server.url });
  const token = tokenOf(await tunnel.address());
  const body = new Uint8Array([123, 255, 254, 0, 125]);
  const address = relay.url.replace("ws:", "http:").replace("api/v1/listen/", `in/${token}/`);
  const answer = await fetch(address, { method: "POST", body, headers: signedBytes(body) });
  // Text instead of bytes would not match the signature, which is 400.
  expect(answer.status).toBe(422);
  expect((await fetch(address)).status).toBe(405);
});

test("the address is the same after a restart, and only the user can read its token", async () => {
  await using relay = startRelay();
  await using folder = await temporaryFolder();
  const first = tunnelTo(folder.path, relay);
  const address = await first.address();
  await first.stop();
  await until("the connection to close", () => relay.tokens().length === 0);
  expect(statSync(join(folder.path, "tunnel.json")).mode & 0o777).toBe(0o600);
  await using second = tunnelTo(folder.path, relay);
  expect(await second.address()).toBe(address);
  expect(tokenIn(folder.path)).toBe(tokenOf(address));
});

test("a token file that was changed by hand is replaced, with a warning", async () => {
  await using relay = startRelay();
  await using folder = await temporaryFolder();
  await Bun.write(join(folder.path, "tunnel.json"), '{"token":"c_../../admin"}');
  await using tunnel = tunnelTo(folder.path, relay);
  expect(tokenOf(await tunnel.address())).toBe(tokenIn(folder.path));
  expect(tunnel.lines).toEqual([expect.stringContaining("does not contain a token")]);
});

test("an answer that is ready after a reconnect is sent through the new connection", async () => {
  await using relay = startRelay();
  await using server = await serverWith(HANDLER);
  await using gate = gateTo(server);
  await using tunnel = tunnelTo(server.dataDir, relay, { webhookUrl: gate.url });
  const token = tokenOf(await tunnel.address());
  const answer = relay.post(token, EVENT, signed(EVENT, { id: "msg_1" }));
  await until("the delivery to be stored", () => gate.stored() === 1);
  relay.drop();
  await until("the second connection", () => relay.registrations.length === 2);
  gate.open();
  expect(await (await answer).json()).toEqual({ id: "msg_1", status: "accepted" });
  expect(relay.registrations).toEqual([token, token]);
  expect(tunnel.addresses).toHaveLength(1);
  expect(tunnel.lines).toEqual([
    expect.stringContaining("warning: the tunnel has lost Svix's relay"),
    "the tunnel is connected again, with the same address",
  ]);
});

test("an answer that is ready while there is no connection waits for the next one", async () => {
  await using relay = startRelay();
  await using server = await serverWith(HANDLER);
  await using gate = gateTo(server);
  const clock = fakeClock();
  await using tunnel = tunnelTo(server.dataDir, relay, { webhookUrl: gate.url, clock });
  const token = tokenOf(await tunnel.address());
  const answer = relay.post(token, EVENT, signed(EVENT, { id: "msg_1" }));
  await until("the delivery to be stored", () => gate.stored() === 1);
  relay.drop();
  await until("the loss", () => tunnel.lines.length === 1);
  gate.open();
  await server.ended("msg_1");
  // The clock does not move, so there is no new connection until here.
  expect(relay.waiting()).toBe(1);
  clock.advance(1_000);
  expect(await (await answer).json()).toEqual({ id: "msg_1", status: "accepted" });
});

test("a delivery whose answer was lost with the relay runs once when Svix sends it again", async () => {
  await using relay = startRelay();
  await using server = await serverWith(HANDLER);
  await using gate = gateTo(server);
  await using tunnel = tunnelTo(server.dataDir, relay, { webhookUrl: gate.url });
  const token = tokenOf(await tunnel.address());
  const lost = relay.post(token, EVENT, signed(EVENT, { id: "msg_1" })).then(
    ({ status }) => status,
    () => "no answer",
  );
  await until("the delivery to be stored", () => gate.stored() === 1);
  await relay.stop();
  expect(await lost).toBe("no answer");
  gate.open();
  relay.start();
  await until("the second connection", () => relay.registrations.length === 2);
  const again = await relay.post(token, EVENT, signed(EVENT, { id: "msg_1" }));
  expect(await again.json()).toMatchObject({ id: "msg_1", status: "duplicate" });
  const { runs, receipts } = await server.ended("msg_1");
  expect([runs.map(({ state, attempts }) => [state, attempts.length]), receipts]).toEqual([[["done", 1]], 2]);
});

test("after an idle hour, the connection is the same and delivers", async () => {
  await using relay = startRelay({ pingEveryMs: 3_600_000 });
  await using server = await serverWith(HANDLER);
  const clock = fakeClock();
  await using tunnel = tunnelTo(server.dataDir, relay, { webhookUrl: server.url, clock });
  const token = tokenOf(await tunnel.address());
  for (let sent = 1; sent <= 360; sent += 1) {
    clock.advance(10_000);
    await until("the client's ping", () => relay.pings >= sent);
    // The relay's pong is on its way: two turns of a local connection.
    await Bun.sleep(2);
  }
  expect(clock.now()).toBe(3_600_000);
  const answer = await relay.post(token, EVENT, signed(EVENT, { id: "msg_1" }));
  expect(await answer.json()).toEqual({ id: "msg_1", status: "accepted" });
  expect([relay.registrations, tunnel.lines]).toEqual([[token], []]);
});

test("a connection that has died without a close is replaced within 40 s, with the same address", async () => {
  await using relay = startRelay();
  await using server = await serverWith(HANDLER);
  using proxy = startProxy(Number(new URL(relay.url).port));
  const clock = fakeClock();
  const through = { url: relay.url.replace(/:\d+/, `:${proxy.port}`) };
  await using tunnel = tunnelTo(server.dataDir, through, { webhookUrl: server.url, clock });
  const token = tokenOf(await tunnel.address());
  proxy.halfOpen = true;
  clock.advance(40_000);
  expect(tunnel.lines).toEqual([expect.stringContaining("nothing came for 30 s")]);
  // The network is back; the relay has noticed, too.
  proxy.halfOpen = false;
  relay.drop();
  clock.advance(1_000);
  await until("the connection to be reported", () => tunnel.lines[1]);
  expect(tunnel.lines[1]).toBe("the tunnel is connected again, with the same address");
  expect((await relay.post(token, EVENT, signed(EVENT))).status).toBe(200);
});

test("a relay that goes away is reported once, and found again with the same address", async () => {
  await using relay = startRelay();
  await using folder = await temporaryFolder();
  const clock = fakeClock();
  await using tunnel = tunnelTo(folder.path, relay, { clock });
  const address = await tunnel.address();
  await relay.stop();
  await until("the loss", () => tunnel.lines.length === 1);
  for (let minutes = 0; minutes < 10; minutes += 1) {
    clock.advance(60_000);
    await Bun.sleep(5);
  }
  expect(tunnel.lines).toHaveLength(1);
  relay.start();
  await until("the connection", async () => {
    clock.advance(500);
    await Bun.sleep(5);
    return tunnel.lines[1];
  });
  expect(tunnel.lines[1]).toBe("the tunnel is connected again, with the same address");
  expect(relay.registrations).toEqual([tokenOf(address), tokenOf(address)]);
});

test("a relay that can't be reached at the start is reported, and used when it can", async () => {
  await using relay = startRelay();
  await using folder = await temporaryFolder();
  await relay.stop();
  await using tunnel = tunnelTo(folder.path, relay);
  await until("the report", () => tunnel.lines.length === 1);
  expect(tunnel.lines[0]).toContain("warning: the tunnel can't reach Svix's relay");
  relay.start();
  expect(relay.registrations).toEqual([tokenOf(await tunnel.address())]);
  expect(tunnel.lines).toHaveLength(1);
});

test("a local server that is gone, or breaks off its answer, is a 502 for the sender", async () => {
  await using relay = startRelay();
  await using folder = await temporaryFolder();
  using broken = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data(socket) {
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{");
        socket.end();
      },
    },
  });
  await using gone = tunnelTo(folder.path, relay);
  expect((await relay.post(tokenOf(await gone.address()), EVENT)).status).toBe(502);
  await gone.stop();
  const webhookUrl = `http://127.0.0.1:${broken.port}/api/webhooks`;
  await using tunnel = tunnelTo(join(folder.path, "other"), relay, { webhookUrl });
  expect((await relay.post(tokenOf(await tunnel.address()), EVENT)).status).toBe(502);
});

test("a stop waits for the answers to requests in flight", async () => {
  await using relay = startRelay();
  await using server = await serverWith(HANDLER);
  await using gate = gateTo(server);
  await using tunnel = tunnelTo(server.dataDir, relay, { webhookUrl: gate.url });
  const token = tokenOf(await tunnel.address());
  const answer = relay.post(token, EVENT, signed(EVENT, { id: "msg_1" }));
  await until("the delivery to be stored", () => gate.stored() === 1);
  const stopped = tunnel.stop(10_000);
  gate.open();
  await stopped;
  expect((await answer).status).toBe(200);
  await until("the connection to close", () => relay.tokens().length === 0);
});
