// `bun test/bench/verify.ts [seconds]`: verification alone, with bodies of four sizes, compared with `svix` and
// `@clerk/backend`. Those parse the body too, so Bellhop is shown with and without parsing. Shows the median of five rounds.

import { verifyWebhook } from "@clerk/backend/webhooks";
import { Webhook } from "svix";

import { parseEvent } from "../../src/receive/event.ts";
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

/** All verify the same request. A server has its bytes and headers anyway, so creating them is not measured. */
function verifiers(text: string): Record<string, Verifier> {
  const body = Buffer.from(text);
  const plain = signed(text);
  const headers = new Headers(plain);
  const check = () => verify({ headers, body, keys, now: Date.now() / 1_000 });
  return {
    "Bellhop, verify": () => {
      if (!check().ok) throw new Error("not verified");
    },
    "Bellhop, verify and parse": () => {
      if (!check().ok || !parseEvent(body)) throw new Error("not verified");
    },
    svix: () => webhook.verify(body, plain),
    // It accepts only a Request, and reads its body.
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
      const result = await rate(verifier);
      const bySize = rates.get(name) ?? KILOBYTES.map(() => []);
      // The first round is the warm-up.
      if (round >= 0) bySize[size]!.push(result);
      rates.set(name, bySize);
    }

const base = rates.get("svix")!.map(median);
console.log(
  table(
    [...rates].map(([name, sizes]) => ({
      "verifications a second": name,
      ...Object.fromEntries(sizes.map((rounds, size) => [`${KILOBYTES[size]} KB`, number(median(rounds))])),
      ...Object.fromEntries(
        sizes.map((rounds, size) => [`ratio, ${KILOBYTES[size]} KB`, ratio(median(rounds) / base[size]!)]),
      ),
    })),
  ),
);
console.log(`\nRatios are relative to svix. ${machine()}.`);
