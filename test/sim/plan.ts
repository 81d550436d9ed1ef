// The plan of a seed: the number of servers, the handlers and their behaviour, and the deliveries with their times.

import type { BreakerOptions } from "../../src/dispatch/pauses.ts";
import type { HandlerOptions } from "../../src/index.ts";
import type { World } from "./world.ts";

/** How a handler behaves with one delivery. */
export interface Behaviour {
  kind: "plain" | "slow" | "throws" | "swallows an error" | "hangs" | "crashes" | "non-retriable" | "retry-after";
  /** The number of attempts that misbehave; later ones are plain. */
  times: number;
}

export interface PlannedHandler {
  name: string;
  options: HandlerOptions;
  writes: boolean;
}

export interface PlannedDelivery {
  id: string;
  type: string;
  subject: string | null;
  /** Another user that its data names. */
  about: string | null;
  at: number;
  sample: boolean;
  /** Its payload is deleted when its runs have ended. */
  sensitive: boolean;
  /** When each copy is sent. */
  sentAt: number[];
}

export interface Plan {
  servers: number;
  /** Whether they share a store with several writers. Otherwise, one server has an SQLite file. */
  isShared: boolean;
  /** Handlers are added and removed, and `concurrency` changes. */
  deploys: boolean;
  /** Months pass while a server is down, by its wall clock, so that deliveries expire. */
  expires: boolean;
  /** Users of which everything may be erased. */
  users: readonly string[];
  /** Users are erased so long after they were deleted. */
  eraseAfterMs: number | undefined;
  concurrency: number;
  /** When the breaker pauses a handler. */
  breaker: BreakerOptions | undefined;
  /** Whether handlers write to Postgres. */
  postgres: boolean;
  handlers: PlannedHandler[];
  deliveries: PlannedDelivery[];
  /** The length of the phase in which faults happen. */
  faultPhaseMs: number;
  behaviour: (handler: string, delivery: string) => Behaviour;
}

export const PARTS = 2;
export const TIMEOUT_MS = 400;

const NAMES = [
  "user.created",
  "user.updated",
  "user.deleted",
  "user.created/crm",
  "user.updated/crm",
  "user.[action]",
  "[...event]",
];
const TYPES = ["user.created", "user.updated", "user.deleted"];
// Databases store the first three as one text.
const ODD_SUBJECTS = ["odd\0", "odd\ufffd", "odd\ud800", 'it\'s "odd" % \\ $1 ?1', "x".repeat(300)];
const KINDS: Behaviour["kind"][] = [
  "slow",
  "throws",
  "swallows an error",
  "hangs",
  "crashes",
  "non-retriable",
  "retry-after",
];

export function planOf(world: World): Plan {
  const { chance, pick, between } = world;
  const names = NAMES.filter(() => chance(0.45));
  const handlers = (names.length > 0 ? names : ["user.created"]).map((name): PlannedHandler => ({
    name,
    options: {
      attempts: between(1, 4),
      timeout: TIMEOUT_MS,
      ...(chance(0.3) && { stale: "skip" as const }),
    },
    writes: chance(0.75),
  }));
  const expires = chance(0.2);
  const faultPhaseMs = expires ? 20_000 : pick([0, 2_000, 20_000, 120_000]);
  const isOdd = chance(0.05);
  const subjects = Array.from({ length: between(1, 4) }, (_, index) => (isOdd ? pick(ODD_SUBJECTS) : `user_${index}`));
  const firstAt = Date.now() - 3_600_000;
  const deliveries = Array.from({ length: between(2, 14) }, (_, index): PlannedDelivery => {
    const first = between(0, Math.max(1_500, faultPhaseMs));
    const copies = Array.from(
      { length: chance(0.25) ? between(1, 3) : 0 },
      () => first + pick([0, 0, 5, between(0, 60_000)]),
    );
    return {
      id: `msg_${index}`,
      type: pick(TYPES),
      subject: chance(0.05) ? null : pick(subjects),
      about: !isOdd && chance(0.1) ? pick(subjects) : null,
      // Few values, so that many event times are equal. They do not follow the order of arrival.
      at: firstAt + between(0, 8) * 1_000,
      sample: chance(0.1),
      sensitive: chance(0.1),
      sentAt: [first, ...copies],
    };
  });
  const misbehaves = pick([0, 0.2, 0.6]);
  const behaviours = new Map<string, Behaviour>();
  const servers = pick([1, 1, 2, 3]);
  const isShared = servers > 1 || chance(0.2);
  return {
    servers,
    isShared,
    deploys: chance(0.3),
    expires,
    users: isOdd ? [] : subjects,
    eraseAfterMs: chance(0.1) ? pick([0, 86_400_000]) : undefined,
    concurrency: between(1, 3),
    breaker: chance(0.3) ? { after: between(1, 3), probeMs: pick([500, 5_000]) } : undefined,
    postgres: isShared || chance(0.5),
    handlers,
    deliveries,
    faultPhaseMs,
    behaviour(handler, delivery) {
      const key = `${handler} ${delivery}`;
      const known = behaviours.get(key);
      if (known) return known;
      const kind = chance(misbehaves) ? pick(KINDS) : "plain";
      const planned: Behaviour = { kind, times: kind === "slow" ? 99 : pick([1, 1, 2, 3, 99]) };
      // A handler that always crashes is rare, because each crash interrupts all other runs.
      if (kind === "crashes" && planned.times > 1 && chance(0.7)) planned.times = 1;
      behaviours.set(key, planned);
      return planned;
    },
  };
}
