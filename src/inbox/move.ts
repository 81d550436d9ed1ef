// Moves an inbox to an empty one in another database: table by table in the order of the keys, so that an interrupted move
// continues. Servers never start on both: the source is closed before the target is opened.

import { COMMAND } from "../command.ts";
import { UserError } from "../errors.ts";
import { describeIncomplete, markBegin, markComplete, markMoved, marksOf } from "./move-marks.ts";
import type { ServerAbout } from "./servers.ts";
import { type Columns, insertRows, query, type RowOf, type Statement, type Store } from "./store.ts";

export interface Place {
  store: Store;
  /** For people. */
  name: string;
}

interface MoveOptions {
  onProgress: (moved: number, total: number) => void;
  /** Runs after all rows were copied, and before the source is closed. */
  beforeSwitch: () => Promise<void>;
}

type Row = RowOf<Columns>;

interface Table {
  name: string;
  columns: Columns;
  key: readonly string[];
  page: Statement<Columns>;
  last: Statement<Columns>;
  insert: Statement<Columns>;
  /** The number of rows, and sums of some columns. */
  summary: Statement<Columns>;
  batch: number;
}

/** Every table but `server`, whose servers are stopped, and `meta`. Rows with a body or a log go in smaller batches. */
export const TABLES: readonly Table[] = [
  table("delivery", ["seq"], 500, ["seq", "receipts"], {
    seq: "int", id: "text", type: "text", subject: "text", at: "int", sample: "int", received_at: "int", receipts: "int",
    wipe_at: "int", unhandled: "int", kept: "int",
  }),
  table("payload", ["seq"], 100, ["seq", "length(body)"], { seq: "int", headers: "text", body: "bytes" }),
  table("run", ["id"], 500, ["id", "seq", "state", "attempts"], {
    id: "int", seq: "int", handler: "text", replay: "text", order_key: "text", at: "int", state: "int", bulk: "int",
    exclusive: "int", due: "int", parked_at: "int", attempts: "int", spent: "int", interrupted: "int", owner: "text",
    reason: "text", wrote: "int", first_at: "int", first_took: "int", problem: "text",
  }),
  table("order_key", ["key"], 500, ["state", "head"], {
    key: "text", done_at: "int", state: "int", head: "int", handler: "text", bulk: "int", exclusive: "int", due: "int",
  }),
  table("attempt", ["run", "n"], 100, ["run", "n", "took"], {
    run: "int", n: "int", started_at: "int", took: "int", outcome: "text", error: "text", log: "text",
  }),
  table("erasure", ["user_id"], 500, ["until_seq", "deliveries"], {
    user_id: "text", requested_at: "int", cause: "text", gives_up: "int", until_seq: "int", scanned_to: "int",
    own_to: "int", held: "text", deliveries: "int", elsewhere: "text", finished_at: "int",
  }),
  table("pause", ["handler"], 500, ["since"], {
    handler: "text", since: "int", cause: "text", reason: "text", probe_at: "int",
  }),
  table("rollup", ["span", "start", "server"], 500, ["deliveries"], {
    span: "int", start: "int", server: "text", deliveries: "int", figures: "text",
  }),
  table("problem", ["id"], 500, ["failures", "first_at", "last_at"], {
    id: "text", handler: "text", name: "text", message: "text", place: "text", source: "text", first_at: "int",
    last_at: "int", newest: "text", failures: "int", opened_failures: "int", muted: "int", resolved_at: "int",
    regressed_at: "int", news: "int", news_owner: "text", reported: "int", reported_at: "int",
  }),
  table("problem_day", ["problem", "day"], 500, ["day", "failures"], { problem: "text", day: "int", failures: "int" }),
]; // prettier-ignore

function table(name: string, key: string[], batch: number, sums: string[], columns: Columns): Table {
  const input: Columns = { ...Object.fromEntries(key.map((column) => [column, columns[column]!])), limit: "int" };
  const [names, order] = [Object.keys(columns).join(", "), key.join(", ")];
  const newest = key.map((column) => `${column} desc`).join(", ");
  const after = key.map((column) => `:${column}`).join(", ");
  const summed = sums.map((sum, index) => `cast(coalesce(sum(${sum}), 0) as bigint) as sum_${index}`);
  return {
    name,
    columns,
    key,
    batch,
    page: query(input)`select ${names} from ${name} where (${order}) > (${after}) order by ${order} limit :limit`,
    last: query({})`select ${order} from ${name} order by ${newest} limit 1`,
    insert: insertRows(name, columns, { onConflict: `(${order}) do nothing` }),
    summary: query({})`select count(*) as count, ${summed.join(", ")} from ${name}`,
  };
}

const ANY_DELIVERY = query({})`select seq from delivery limit 1`;

// Rows are inserted with their numbers, which does not move Postgres' own counters.
const SET_COUNTERS = query({})`${({ setBased }) => {
  const counters = ["delivery.seq", "run.id"].map((counter) => {
    const [name, column] = counter.split(".");
    return `setval(pg_get_serial_sequence('${name}', '${column}'), (select max(${column}) from ${name}))`;
  });
  return setBased ? `select ${counters.join(", ")}` : "select 1";
}}`;

// Servers that share an inbox renew their row every second, and delete it when they stop.
const ALIVE = query({})`${({ setBased }) =>
  setBased
    ? "select about from server where seen_at > clock_timestamp() - interval '10 s'"
    : "select '' as about where 1 = 0"}`;

/**
 * Copies all rows, compares both sides, and closes the source. Called again after an interruption, it continues. Throws a
 * `UserError` when a server is running, when the source was moved away, or when the target is not empty.
 */
export async function moveInbox(source: Place, target: Place, options: MoveOptions): Promise<void> {
  for (const place of [source, target]) await refuseServers(place);
  const [own, copy] = [await marksOf(source.store.read), await marksOf(target.store.read)];
  if (own.from) throw new UserError(describeIncomplete(own.from.name));
  const { to } = own;
  if (to && to.id !== copy.from?.id)
    throw new UserError(`The inbox in ${source.name} was moved to ${to.name} already: nothing to move`);
  if (!to) {
    const id = own.moving !== undefined && own.moving === copy.from?.id ? own.moving : await begin(source, target);
    await copyTables(source, target, options.onProgress);
    await options.beforeSwitch();
    for (const place of [source, target]) await refuseServers(place);
    await compare(source, target);
    await target.store.read.all(SET_COUNTERS, {});
    if (!(await markMoved(source.store, id, target.name)))
      throw new UserError(
        `A server was started on ${source.name} during the move, so the copy in ${target.name} is out of date.\n\n` +
          `    Stop the server, remove the copy, and run ${COMMAND} move again.`,
      );
  }
  await markComplete(target.store);
}

/** Returns the number of rows of each table. */
export async function countRows(store: Store): Promise<Map<string, number>> {
  return new Map((await summariesOf(store)).map(([name, { count }]) => [name, count]));
}

async function begin(source: Place, target: Place): Promise<number> {
  if (await isEmpty(source)) throw new UserError(`There is no delivery in ${source.name}: nothing to move`);
  if (!(await isEmpty(target)))
    throw new UserError(
      `The inbox in ${target.name} has deliveries, and they are not from an interrupted move of this one.\n\n` +
        "    Choose an empty database or DATA_DIR, or remove that inbox if you no longer need it:\n" +
        "    drop schema bellhop cascade (Postgres), or move inbox.db away (SQLite).",
    );
  return markBegin(source.store, target.store, source.name);
}

async function copyTables(source: Place, target: Place, onProgress: MoveOptions["onProgress"]): Promise<void> {
  const sum = (counts: Map<string, number>) => counts.values().reduce((total, count) => total + count, 0);
  const total = sum(await countRows(source.store));
  let moved = sum(await countRows(target.store));
  for (const { key, columns, batch, ...statements } of TABLES) {
    let after: Row = Object.fromEntries(key.map((column) => [column, columns[column] === "text" ? "" : 0]));
    // Each batch is a transaction, so the rows up to the last one are there. Not so by text: Postgres stores no `\0`.
    if (key.every((column) => columns[column] === "int"))
      after = (await target.store.read.all<Row>(statements.last, {}))[0] ?? after;
    while (true) {
      const rows = await source.store.read.all<Row>(statements.page, { ...after, limit: batch });
      if (rows.length === 0) break;
      moved += await target.store.transaction((transaction) => transaction.run(statements.insert, rows));
      onProgress(moved, total);
      after = rows.at(-1)!;
    }
  }
}

async function compare(source: Place, target: Place): Promise<void> {
  const copies = new Map(await summariesOf(target.store));
  for (const [name, original] of await summariesOf(source.store)) {
    const copy = copies.get(name)!;
    if (!Bun.deepEquals(original, copy))
      throw new UserError(
        `The table ${name} differs: ${JSON.stringify(original)} in ${source.name}, ${JSON.stringify(copy)} in ` +
          `${target.name}. The inbox was not moved: remove the copy, and run ${COMMAND} move again`,
      );
  }
}

async function refuseServers({ store, name }: Place): Promise<void> {
  const [alive] = await store.read.all<{ about: string }>(ALIVE, {});
  if (!alive) return;
  const { host, pid } = JSON.parse(alive.about) as Partial<ServerAbout>;
  throw new UserError(
    `A server is running on ${name}: process ${pid} on ${host}.\n\n` +
      "    Stop every server first. One that was killed counts as running for 10 s.",
  );
}

async function isEmpty({ store }: Place): Promise<boolean> {
  return (await store.read.all(ANY_DELIVERY, {})).length === 0;
}

type Summary = { count: number } & Record<`sum_${number}`, number>;

async function summariesOf({ read }: Store): Promise<[string, Summary][]> {
  const summaries: [string, Summary][] = [];
  for (const { name, summary } of TABLES) summaries.push([name, (await read.all<Summary>(summary, {}))[0]!]);
  return summaries;
}
