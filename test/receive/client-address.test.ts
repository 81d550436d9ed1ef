// Refused requests are counted by address, and no request is refused because of its address.

import { expect, test } from "bun:test";

import { clientAddress, countAddresses } from "../../src/receive/client-address.ts";
import { post, serverWith, until } from "../harness.ts";

const PEER = "10.0.0.9";
const address = (forwarded: string | undefined, proxies: number, peer: string | undefined = PEER) =>
  clientAddress(new Headers(forwarded === undefined ? {} : { "x-forwarded-for": forwarded }), peer, proxies);

test.each([
  [undefined, 0, PEER],
  // Anyone can send the header.
  ["1.2.3.4", 0, PEER],
  ["1.2.3.4", 1, "1.2.3.4"],
  ["6.6.6.6, 1.2.3.4", 1, "1.2.3.4"],
  ["6.6.6.6, 1.2.3.4, 10.0.0.8", 2, "1.2.3.4"],
  ["1.2.3.4", 2, PEER],
  ["1.2.3.4:5678", 1, "1.2.3.4"],
  ["[2001:db8::1]:443", 1, "2001:db8::1"],
  ["2001:db8::1", 1, "2001:db8::1"],
  ["::ffff:1.2.3.4", 1, "1.2.3.4"],
  ["<script>", 1, PEER],
  ["", 1, PEER],
])("X-Forwarded-For %j behind %d proxies is %s", (forwarded, proxies, expected) => {
  expect(address(forwarded, proxies)).toBe(expected);
});

test("an address that is not known is undefined", () => {
  expect(clientAddress(new Headers(), undefined, 1)).toBeUndefined();
});

test("counts are bounded, and the addresses with the most requests are listed first", () => {
  const counts = countAddresses(3);
  for (const one of ["a", "b", "b", "c", undefined, "b"]) counts.add(one);
  expect(counts.top(9)).toEqual([
    { address: "b", count: 3 },
    { address: "c", count: 1 },
    { address: "unknown", count: 1 },
  ]);
  expect(counts.top(1)).toHaveLength(1);
});

const event = { type: "user.created", object: "event", data: { id: "user_1" } };

test("behind a trusted proxy, refusals are logged and counted by the client's address", async () => {
  await using server = await serverWith({}, { TRUST_PROXY: "1" });
  for (const client of ["1.2.3.4", "1.2.3.4", "5.6.7.8"])
    await fetch(server.url, { method: "POST", headers: { "x-forwarded-for": `9.9.9.9, ${client}` }, body: "{}" });
  expect(server.receiver.refused().map((refused) => refused.address)).toEqual(["1.2.3.4", "1.2.3.4", "5.6.7.8"]);
  expect(server.receiver.addresses()).toEqual([
    { address: "1.2.3.4", count: 2 },
    { address: "5.6.7.8", count: 1 },
  ]);
  const line = await until("the log line", () => server.lines.find(({ code }) => code === "missing_headers"));
  expect(line["address"]).toBe("1.2.3.4");
});

test("a signed event is never limited, however many requests of its address are refused", async () => {
  await using server = await serverWith({});
  const refused = Array.from({ length: 400 }, (_, n) =>
    n % 2 === 0
      ? fetch(server.url, { method: "POST", body: "{}" })
      : post(server.url, event, { secret: "whsec_d3JvbmcgYnV0IGxvbmcgZW5vdWdoIHRvIHBhcnNl" }),
  );
  const signed = Array.from({ length: 100 }, (_, n) => server.post(event, { id: `msg_${n}` }));
  const statuses = (responses: Response[]) => [...new Set(responses.map(({ status }) => status))];
  expect(statuses(await Promise.all(signed))).toEqual([200]);
  expect(statuses(await Promise.all(refused))).toEqual([400]);
  expect(
    statuses(await Promise.all(Array.from({ length: 50 }, (_, n) => server.post(event, { id: `late_${n}` })))),
  ).toEqual([200]);
  expect(server.receiver.addresses()).toEqual([{ address: "127.0.0.1", count: 400 }]);
});
