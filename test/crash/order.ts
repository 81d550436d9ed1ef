// The order of calls, from the lines that handlers wrote. Per subject and lane, two calls never overlap, and a call never
// begins while an earlier event, of which the server knew, has not ended.

/** A delivery as the load sent it. Times are in milliseconds of the wall clock. */
export interface Sent {
  type: string;
  subject: string;
  /** Its handlers may fail once. */
  flaky: boolean;
  /** Event time. */
  at: number;
  sentAt: number;
  /** The first 200. */
  answeredAt: number;
}

export interface Call {
  what: "begin" | "end" | "failed";
  time: number;
  lane: string;
  subject: string;
  /** The delivery. */
  id: string;
  handler: string;
  attempt: number;
  pid: number;
}

// A run may have been claimed before the earlier event came. It begins within this time, however busy the machine is.
const LONGEST_CLAIM_MS = 2_000;

export function parseCall(line: string): Call {
  const [what, time, lane = "", subject = "", id = "", handler = "", attempt, pid] = line.split(" ");
  return {
    what: what as Call["what"],
    time: Number(time),
    lane,
    subject,
    id,
    handler,
    attempt: Number(attempt),
    pid: Number(pid),
  };
}

/** `arrivals` are the stored sequence numbers, by delivery. */
export function checkOrder(
  calls: readonly Call[],
  accepted: ReadonlyMap<string, Sent>,
  arrivals: ReadonlyMap<string, number>,
): string[] {
  const groups = Map.groupBy(calls, ({ lane, subject }) => `${lane} of ${subject}`);
  return [...groups].flatMap(([group, own]) =>
    [...overlaps(own), ...inversions(own, accepted, arrivals)].map((problem) => `lane ${group}: ${problem}`),
  );
}

function overlaps(calls: readonly Call[]): string[] {
  const problems: string[] = [];
  let active: Call | undefined;
  for (const call of calls) {
    if (call.what !== "begin") {
      if (active?.id === call.id && active.attempt === call.attempt) active = undefined;
      continue;
    }
    // A call of another process has ended with it: there is one server at a time.
    if (active?.pid === call.pid) problems.push(`${call.id} began during ${active.id}`);
    active = call;
  }
  return problems;
}

function inversions(
  calls: readonly Call[],
  accepted: ReadonlyMap<string, Sent>,
  arrivals: ReadonlyMap<string, number>,
): string[] {
  const lastCall = new Map(calls.map(({ id, time }) => [id, time]));
  const events = [...lastCall].flatMap(([id, endedAt]) => {
    const sent = accepted.get(id);
    return sent ? [{ id, endedAt, arrival: arrivals.get(id) ?? 0, ...sent }] : [];
  });
  const byId = new Map(events.map((event) => [event.id, event]));
  return calls.flatMap(({ what, id, time }) => {
    const event = byId.get(id);
    if (what !== "begin" || !event) return [];
    return events
      .filter(({ at, arrival }) => at < event.at || (at === event.at && arrival < event.arrival))
      .filter(({ answeredAt }) => answeredAt < Math.max(event.sentAt, time - LONGEST_CLAIM_MS))
      .filter(({ endedAt }) => endedAt > time)
      .map((earlier) => `${id} began before the earlier ${earlier.id} had ended`);
  });
}
