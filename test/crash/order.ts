// Checks the order of the calls that handlers logged. Per subject and lane, calls never overlap, and no call begins before
// the calls of each earlier event that the server knew have ended.

/** A delivery as the load sent it. Times are in milliseconds of the wall clock. */
export interface Sent {
  type: string;
  subject: string;
  /** Whether FAILING_HANDLER fails in its first attempt. */
  flaky: boolean;
  /** Event time. */
  at: number;
  sentAt: number;
  /** When it was first answered 200. */
  answeredAt: number;
}

export interface Call {
  kind: "begin" | "end" | "failed";
  time: number;
  lane: string;
  subject: string;
  /** The id of the delivery. */
  id: string;
  handler: string;
  attempt: number;
  pid: number;
}

// A run may have been claimed before the earlier event arrived. It begins within this time, even on a busy machine.
const MAX_CLAIM_TO_BEGIN_MS = 2_000;

export function parseCall(line: string): Call {
  const [kind, time, lane = "", subject = "", id = "", handler = "", attempt, pid] = line.split(" ");
  return {
    kind: kind as Call["kind"],
    time: Number(time),
    lane,
    subject,
    id,
    handler,
    attempt: Number(attempt),
    pid: Number(pid),
  };
}

/** When each process died, by pid, if several run at the same time. Times are in milliseconds of the wall clock. */
export type Deaths = ReadonlyMap<number, number>;

/** `calls` are in the order in which they were logged. `arrivals` are the stored sequence numbers, by delivery. */
export function checkOrder(
  calls: readonly Call[],
  accepted: ReadonlyMap<string, Sent>,
  arrivals: ReadonlyMap<string, number>,
  deaths?: Deaths,
): string[] {
  const groups = Map.groupBy(calls, ({ lane, subject }) => `${lane} of ${subject}`);
  return [...groups].flatMap(([group, own]) =>
    [...overlaps(own, deaths), ...inversions(own, accepted, arrivals)].map((problem) => `lane ${group}: ${problem}`),
  );
}

function overlaps(calls: readonly Call[], deaths: Deaths | undefined): string[] {
  const problems: string[] = [];
  let active: Call | undefined;
  for (const call of calls) {
    if (call.kind !== "begin") {
      if (active?.id === call.id && active.attempt === call.attempt) active = undefined;
      continue;
    }
    // A call of a dead process ended with it. With one server at a time, every other process is dead.
    const isAlive = ({ pid }: Call) => pid === call.pid || (deaths && (deaths.get(pid) ?? Infinity) > call.time);
    if (active && isAlive(active)) problems.push(`${describe(call)} began during ${describe(active)}`);
    active = call;
  }
  return problems;
}

function describe({ id, attempt, pid, time }: Call): string {
  return `${id} (attempt ${attempt} in process ${pid}, at ${new Date(time).toISOString()})`;
}

/** When it was accepted, and its calls. */
function history(calls: readonly Call[], { id, answeredAt }: { id: string; answeredAt: number }): string {
  const own = calls.filter((call) => call.id === id);
  return [`answered ${new Date(answeredAt).toISOString()}`, ...own.map((call) => `${call.kind} ${describe(call)}`)]
    .map((line) => `\n    ${line}`)
    .join("");
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
  return calls.flatMap((call) => {
    const { kind, id, time } = call;
    const event = byId.get(id);
    if (kind !== "begin" || !event) return [];
    return events
      .filter(({ at, arrival }) => at < event.at || (at === event.at && arrival < event.arrival))
      .filter(({ answeredAt }) => answeredAt < Math.max(event.sentAt, time - MAX_CLAIM_TO_BEGIN_MS))
      .filter(({ endedAt }) => endedAt > time)
      .map(
        (earlier) => `${describe(call)} began before the earlier ${earlier.id} had ended:${history(calls, earlier)}`,
      );
  });
}
