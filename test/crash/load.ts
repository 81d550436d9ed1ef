// What Svix does to a server, only faster: several connections that post until they are answered, and post some twice.
// Each subject belongs to one connection, so that its events are sent, and so have to run, in the order of their numbers.

import { signed } from "../harness.ts";
import type { Random } from "../random.ts";

export interface Load {
  /** Every id that was answered 200, with its event's type. */
  accepted: Map<string, string>;
  /** Answers that break a promise by themselves. */
  problems: string[];
  /** Resolves at the next 200. */
  answered(): Promise<void>;
  stop(): Promise<void>;
}

const CONNECTIONS = 8;
const SUBJECTS_EACH = 6;
const TYPES = ["user.created", "user.updated", "user.deleted"] as const;
// Events lie in the past: a time ahead of the receipt would count as the receipt.
const HOUR_MS = 3_600_000;

export function startLoad(url: string, random: Random): Load {
  const accepted = new Map<string, string>();
  const problems: string[] = [];
  const begin = Date.now() - HOUR_MS;
  let next = Promise.withResolvers<void>();
  let stopped = false;
  const connections = Array.from({ length: CONNECTIONS }, (_, connection) => sendForEver(connection));

  async function sendForEver(connection: number) {
    for (let number = 0; !stopped; number += 1) {
      const id = `msg_${connection}_${number}`;
      const subject = `user_${connection}_${Math.floor(random() * SUBJECTS_EACH)}`;
      const type = pick(TYPES, random);
      // Two share each millisecond: then the order is that of their arrival.
      const timestamp = begin + Math.floor(number / 2);
      const body = JSON.stringify({
        type,
        object: "event",
        timestamp,
        data: { id: subject, object: "user", flaky: random() < 0.2 },
      });
      const copies = random() < 0.1 ? 2 : 1;
      const answers = await Promise.all(Array.from({ length: copies }, () => sendUntilAnswered(id, body)));
      if (answers.filter((answer) => answer === "accepted").length > 1) problems.push(`${id} was accepted twice`);
      if (answers.includes(undefined)) continue;
      if (random() < 0.05 && (await sendUntilAnswered(id, body)) === "accepted")
        problems.push(`${id} was accepted again after its 200`);
      accepted.set(id, type);
      await Bun.sleep(random() * 10);
    }
  }

  /** Undefined: the load was stopped before there was an answer. */
  async function sendUntilAnswered(id: string, body: string): Promise<string | undefined> {
    while (!stopped) {
      try {
        const response = await fetch(url, {
          method: "POST",
          body,
          headers: signed(body, { id }),
          signal: AbortSignal.timeout(10_000),
        });
        if (response.status === 200) {
          // The 200 counts, also when the process dies before the rest of the answer came.
          accepted.set(id, (JSON.parse(body) as { type: string }).type);
          next.resolve();
          next = Promise.withResolvers();
          const { status } = (await response.json().catch(() => ({ status: "cut off" }))) as { status: string };
          return status;
        }
        problems.push(`${id} was answered ${response.status}: ${await response.text()}`);
      } catch {
        // The server is dead or not yet up.
      }
      await Bun.sleep(5);
    }
    return undefined;
  }

  return {
    accepted,
    problems,
    answered: () => next.promise,
    async stop() {
      stopped = true;
      await Promise.all(connections);
    },
  };
}

function pick<T>(from: readonly T[], random: Random): T {
  return from[Math.floor(random() * from.length)] as T;
}
