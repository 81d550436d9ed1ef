// Posts deliveries as Svix does, but faster: several connections repeat each one until it is answered, and post some twice.
// Each subject belongs to one connection, so its events are stored in the order in which they are sent.

import { signed } from "../harness.ts";
import { pick, type Random } from "../random.ts";
import type { Sent } from "./order.ts";
import { CLOCK_JUMP_MS } from "./outages.ts";

export interface Load {
  /** Deliveries that were answered 200, by id. */
  accepted: Map<string, Sent>;
  /** One sentence per wrong answer. */
  problems: string[];
  /** Resolves at the next 200. */
  answered(): Promise<void>;
  /** Whether an outage is in progress, during which the server may answer 503. */
  isOutage: boolean;
  /** How far the server's clock is ahead. The load signs with that clock. */
  clockOffsetMs: number;
  stop(): Promise<void>;
}

const CONNECTIONS = 8;
const SUBJECTS_PER_CONNECTION = 6;
const TYPES = ["user.created", "user.updated", "user.deleted"] as const;
// Event times are in the past even for a server whose clock is behind: a time ahead of the receipt counts as the receipt.
const PAST_MS = CLOCK_JUMP_MS + 3_600_000;
const LATE_SHARE = 0.2;
// Event times advance by half a millisecond per delivery, so these are about the last 15 events of a subject.
const LATE_MS = 50;

/** `url` is called for each request, as a load balancer chooses a server. */
export function startLoad(url: () => string, random: Random): Load {
  const accepted = new Map<string, Sent>();
  const problems: string[] = [];
  const begin = Date.now() - PAST_MS;
  let next = Promise.withResolvers<void>();
  let stopped = false;
  const load: Load = {
    accepted,
    problems,
    isOutage: false,
    clockOffsetMs: 0,
    answered: () => next.promise,
    async stop() {
      stopped = true;
      await Promise.all(connections);
    },
  };
  const connections = Array.from({ length: CONNECTIONS }, (_, connection) => sendUntilStopped(connection));

  async function sendUntilStopped(connection: number) {
    for (let number = 0; !stopped; number += 1) {
      const id = `msg_${connection}_${number}`;
      const subject = `user_${connection}_${Math.floor(random() * SUBJECTS_PER_CONNECTION)}`;
      const type = pick(TYPES, random);
      // Two deliveries share each millisecond, so arrival decides their order. Some arrive late.
      const late = random() < LATE_SHARE ? random() * LATE_MS : 0;
      const timestamp = begin + Math.floor(number / 2 - late);
      const flaky = random() < 0.2;
      const body = JSON.stringify({
        type,
        object: "event",
        timestamp,
        data: { id: subject, object: "user", flaky },
      });
      const sent = { type, subject, flaky, at: timestamp, sentAt: Date.now() };
      const onAnswer = () => {
        if (!accepted.has(id)) accepted.set(id, { ...sent, answeredAt: Date.now() });
      };
      const copies = random() < 0.1 ? 2 : 1;
      const answers = await Promise.all(Array.from({ length: copies }, () => sendUntilAnswered(id, body, onAnswer)));
      if (answers.filter((answer) => answer === "accepted").length > 1) problems.push(`${id} was accepted twice`);
      if (answers.includes(undefined)) continue;
      if (random() < 0.05 && (await sendUntilAnswered(id, body, onAnswer)) === "accepted")
        problems.push(`${id} was accepted again after its 200`);
      await Bun.sleep(random() * 10);
    }
  }

  /** Returns undefined when the load was stopped before an answer. */
  async function sendUntilAnswered(id: string, body: string, onAnswer: () => void): Promise<string | undefined> {
    while (!stopped) {
      try {
        const response = await fetch(url(), {
          method: "POST",
          body,
          headers: signed(body, { id, at: new Date(Date.now() + load.clockOffsetMs) }),
          signal: AbortSignal.timeout(10_000),
        });
        if (response.status === 200) {
          // The 200 counts even if the process dies before the rest of the answer is sent.
          onAnswer();
          next.resolve();
          next = Promise.withResolvers();
          const { status } = (await response.json().catch(() => ({ status: "cut off" }))) as { status: string };
          return status;
        }
        if (load.isOutage && response.status === 503) await response.body?.cancel();
        else problems.push(`${id} was answered ${response.status}: ${await response.text()}`);
      } catch {
        // The server is dead or not yet up.
      }
      await Bun.sleep(5);
    }
    return undefined;
  }

  return load;
}
