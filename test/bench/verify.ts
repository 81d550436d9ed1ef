// `bun test/bench/verify.ts [seconds]`: verification alone, of bodies of four sizes, beside `svix` and `@clerk/backend`,
// in turns. Theirs parse the body, too, so Bellhop is shown with and without; what is shown is the middle of five turns.

import { verifyWebhook } from "@clerk/backend/webhooks";
import { Webhook } from "svix";

import { parseEvent } from "../../src/receive/delivery.ts";
import { parseSecrets, verify } from "../../src/receive/verify.ts";
import { SECRET, signed } from "../harness.ts";
import { median } from "./histogram.ts";
import { machine } from "./machine.ts";
import { userCreated } from "./requests.ts";
import { number, ratio, table } from "./table.ts";

const KILOBYTES = [0.3, 1, 5, 50];
const ROUNDS = 5;
const seconds = Number(process.argv[2] ?? 0.5);
const keys = parseSecrets(SECRET);
const webhook = new Webhook(SECRET);

type Verifier = () => unknown;

/** The same request for all. What a server has anyway before it verifies, the bytes and the headers, is nobody's cost. */
function verifiers(text: string): Record<string, Verifier> {
  const body = Buffer.from(text);
  const plain = signed(text);
  const headers = new Headers(plain);
  const asked = () => verify({ headers, body, keys, now: Date.now() / 1_000 });
  return {
    "Bellhop, verify": () => {
      if (!asked().ok) throw new Error("not verified");
    },
    "Bellhop, verify and parse": () => {
      if (!asked().ok || !parseEvent(body)) throw new Error("not verified");
    },
    svix: () => webhook.verify(body, plain),
    // It takes a Request and nothing else, and reads it.
    "@clerk/backend": () =>
      verifyWebhook(new Request("http://bellhop.example/", { method: "POST", headers, body }), {
        signingSecret: SECRET,
      }),
  };
}

/** Verifications a second. */
async function rate(verifier: Verifier): Promise<number> {
  const began = performance.now();
  const end = began + (seconds / ROUNDS) * 1_000;
  let count = 0;
  for (; performance.now() < end; count += 1) {
    const result = verifier();
    if (result instanceof Promise) await result;
  }
  return count / ((performance.now() - began) / 1_000);
}

const rates = new Map<string, number[][]>();
for (let round = -1; round < ROUNDS; round += 1)
  for (const [size, kilobytes] of KILOBYTES.entries())
    for (const [name, verifier] of Object.entries(verifiers(userCreated(kilobytes * 1_024)))) {
      const found = await rate(verifier);
      const of = rates.get(name) ?? KILOBYTES.map(() => []);
      // The first round only warms up.
      if (round >= 0) of[size]!.push(found);
      rates.set(name, of);
    }

const base = rates.get("svix")!.map(median);
console.log(
  table(
    [...rates].map(([name, sizes]) => ({
      "verifications a second": name,
      ...Object.fromEntries(sizes.map((all, size) => [`${KILOBYTES[size]} KB`, number(median(all))])),
      ...Object.fromEntries(
        sizes.map((all, size) => [`ratio, ${KILOBYTES[size]} KB`, ratio(median(all) / base[size]!)]),
      ),
    })),
  ),
);
console.log(`\nRatios to svix. ${machine()}.`);
