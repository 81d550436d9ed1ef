// Moves an inbox to an empty one in another database: table by table in the order of the keys, so that an interrupted move
// continues. Servers never start on both: the source is closed before the target is opened.

import type { ServerAbout } from "../cluster/servers.ts";
import { COMMAND } from "../command.ts";
import { UserError } from "../errors.ts";
import { describeIncomplete, markBegin, markComplete, markMoved, marksOf } from "../store/move-marks.ts";
import { type Columns, insertRows, query, type RowOf, type Store } from "../store/store.ts";

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
  key: readonly string[];
  /** Both sides are compared by the number of rows, and by these sums. */
  sums: readonly string[];
  /** Rows with a body or a log go in smaller batches. */
  batch?: number;
}

/** Every table but `server`, whose servers are stopped, and `meta`. */
export const TABLES: readonly Table[] = [
  { name: "delivery", key: ["seq"], sums: ["seq", "receipts"] },
  { name: "payload", key: ["seq"], sums: ["seq", "length(body)"], batch: 100 },
  { name: "run", key: ["id"], sums: ["id", "seq", "state", "attempts"] },
  { name: "order_key", key: ["key"], sums: ["state", "head"] },
  { name: "attempt", key: ["run", "n"], sums: ["run", "n", "took"], batch: 100 },
  { name: "erasure", key: ["user_id"], sums: ["until_seq", "deliveries"] },
  { name: "pause", key: ["handler"], sums: ["since"] },
  { name: "rollup", key: ["span", "start", "server"], sums: ["deliveries"] },
  { name: "problem", key: ["id"], sums: ["failures", "first_at", "last_at"] },
  { name: "problem_day", key: ["problem", "day"], sums: ["day", "failures"] },
];

const BATCH = 500;

const COLUMNS = query({ table: "text" })`${({ setBased }) =>
  setBased
    ? `select column_name as name, data_type as type from information_schema.columns
        where table_schema = current_schema() and table_name = :table`
    : "select name, type from pragma_table_info(:table)"}`;

async function columnsOf({ read }: Store, table: string): Promise<Columns> {
  const found = await read.all<{ name: string; type: string }>(COLUMNS, { table });
  const typeOf = (type: string) => (/text/i.test(type) ? "text" : /blob|bytea/i.test(type) ? "bytes" : "int");
  return Object.fromEntries(found.map(({ name, type }) => [name, typeOf(type)]));
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
  for (const { name, key, batch = BATCH } of TABLES) {
    const columns = await columnsOf(source.store, name);
    const [names, order, after] = [Object.keys(columns), key, key.map((column) => `:${column}`)].map((list) =>
      list.join(", "),
    );
    const input: Columns = { ...Object.fromEntries(key.map((column) => [column, columns[column]!])), limit: "int" };
    const page = query(
      input,
    )`select ${names!} from ${name} where (${order!}) > (${after!}) order by ${order!} limit :limit`;
    const insert = insertRows(name, columns, { onConflict: `(${order}) do nothing` });
    let last: Row = Object.fromEntries(key.map((column) => [column, columns[column] === "text" ? "" : 0]));
    // Each batch is a transaction, so the rows up to the last one are there. Not so by text: Postgres stores no `\0`.
    if (key.every((column) => columns[column] === "int")) last = (await lastRow(target.store, name, key)) ?? last;
    while (true) {
      const rows = await source.store.read.all<Row>(page, { ...last, limit: batch });
      if (rows.length === 0) break;
      moved += await target.store.transaction((transaction) => transaction.run(insert, rows));
      onProgress(moved, total);
      last = rows.at(-1)!;
    }
  }
}

async function lastRow({ read }: Store, table: string, key: readonly string[]): Promise<Row | undefined> {
  const newest = key.map((column) => `${column} desc`).join(", ");
  const [row] = await read.all<Row>(query({})`select ${key.join(", ")} from ${table} order by ${newest} limit 1`, {});
  return row;
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
  for (const { name, sums } of TABLES) {
    const summed = sums.map((sum, index) => `cast(coalesce(sum(${sum}), 0) as bigint) as sum_${index}`);
    const summary = query({})`select count(*) as count, ${summed.join(", ")} from ${name}`;
    summaries.push([name, (await read.all<Summary>(summary, {}))[0]!]);
  }
  return summaries;
}
