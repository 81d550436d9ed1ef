// Measures how the databases execute the inbox's statements. Records the statements that a store is given. Postgres plans
// them once, while its tables are tiny, and executes them with these plans when the tables are large.

import type { SQL } from "bun";

import { render } from "../../src/store/postgres-dialect.ts";
import type { Columns, Reader, Statement, Store, Transaction, Value } from "../../src/store/store.ts";

type Row = Record<string, Value>;
/** Each statement with a few of the rows, or with the parameters, that it was given. */
export type Recording = Map<Statement<Columns>, Row[]>;

const MAX_ROWS = 5;
const MAX_LIMIT = 10;

/** Returns a store that records its statements and their input. */
export function recordStatements(store: Store, recording: Recording): Store {
  function record(statement: unknown, input: unknown) {
    const rows = (Array.isArray(input) ? input : [input]).slice(0, MAX_ROWS) as Row[];
    const known = recording.get(statement as Statement<Columns>);
    if (rows.length > (known?.length ?? 0)) recording.set(statement as Statement<Columns>, rows.map(withSmallLimit));
  }
  const recorded = <R extends Reader>(reader: R, methods: (keyof R)[]): R => {
    const wrapped = { ...reader };
    for (const name of methods)
      wrapped[name] = ((statement: unknown, input: unknown) => {
        record(statement, input);
        return (reader[name] as Function)(statement, input);
      }) as R[typeof name];
    return wrapped;
  };
  return {
    ...store,
    read: recorded(store.read, ["all"]),
    transaction: (body) =>
      store.transaction((transaction) =>
        body(recorded<Transaction>(transaction, ["all", "run", "changed", "insert", "lock"])),
      ),
  };
}

const withSmallLimit = (row: Row): Row =>
  typeof row.limit === "number" ? { ...row, limit: Math.min(row.limit, MAX_LIMIT) } : row;

/** How much a statement read. */
export interface Reads {
  text: string;
  rows: number;
  buffers: number;
}

interface Plan {
  "Node Type": string;
  "Actual Rows"?: number;
  "Actual Loops"?: number;
  "Rows Removed by Filter"?: number;
  "Rows Removed by Index Recheck"?: number;
  "Shared Hit Blocks": number;
  "Shared Read Blocks": number;
  Plans?: Plan[];
}

/** Plans all statements on this connection, calls `grow`, and executes them with the old plans. */
export async function readsOnPostgres(sql: SQL, recording: Recording, grow: () => Promise<void>): Promise<Reads[]> {
  const prepared = [...recording].map(([statement, rows], index) => {
    const { text, columns } = render(statement);
    const values = columns.map((name) => literal(statement, name, rows));
    return { name: `statement_${index}`, text, call: `execute statement_${index}${tuple(values)}` };
  });
  await sql.unsafe("set plan_cache_mode = force_generic_plan");
  for (const { name, text, call } of prepared) {
    await sql.unsafe(`prepare ${name} as ${text}`);
    await sql.unsafe(`explain ${call}`);
  }
  await grow();
  const reads: Reads[] = [];
  for (const { text, call } of prepared) {
    // The recorded rows must not conflict with existing ones.
    const table = /^insert into (payload|run)\b(?!.* on conflict)/.exec(text)?.[1];
    const room = table ? `delete from ${table} where seq < 1000;` : "";
    const results = await sql.unsafe(`begin; ${room} explain (analyze, buffers, format json) ${call}; rollback`);
    const [{ Plan: plan }] = results.at(-2)[0]["QUERY PLAN"];
    const buffers = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"];
    reads.push({ text, rows: rowsRead(plan), buffers });
  }
  return reads;
}

function rowsRead(plan: Plan): number {
  const removed = (plan["Rows Removed by Filter"] ?? 0) + (plan["Rows Removed by Index Recheck"] ?? 0);
  const isScan = /Index|Seq Scan|Bitmap/.test(plan["Node Type"]);
  const own = isScan ? ((plan["Actual Rows"] ?? 0) + removed) * (plan["Actual Loops"] ?? 1) : 0;
  return (plan.Plans ?? []).reduce((sum, child) => sum + rowsRead(child), own);
}

const tuple = (values: readonly string[]) => (values.length > 0 ? `(${values.join(", ")})` : "");

function literal({ columns, overRows }: Statement<Columns>, name: string, rows: readonly Row[]): string {
  const type = { text: "text", int: "bigint", bytes: "bytea" }[columns[name]!];
  const text = (value: Value | undefined) => {
    if (value == null) return "null";
    if (typeof value === "number") return String(value);
    if (typeof value === "string") return `'${value.replaceAll("\0", "").toWellFormed().replaceAll("'", "''")}'`;
    return `'\\x${Buffer.from(value).toString("hex")}'`;
  };
  if (!overRows) return `${text(rows[0]![name])}::${type}`;
  return `array[${rows.map((row) => text(row[name])).join(", ")}]::${type}[]`;
}

// A partial index, which contains only rows with pending work, may be scanned.
const SCAN = /^SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?/;
const TABLES = /^(delivery|d|run|r|later|payload|p|attempt|a|order_key|k|problem|p|problem_day|rollup)$/;

/** Steps of statements that read a whole table, or a whole index that is not partial. */
export async function scansOnSqlite(store: Store, recording: Recording): Promise<string[]> {
  const partial = {
    columns: { where: "text" },
    overRows: false,
    render: () => ({ text: INDEXES, columns: ["where"] }),
  };
  const indexes = await store.read.all<{ name: string }>(partial as Statement<Columns>, {
    where: "% where %",
  });
  const partialIndexes = new Set(indexes.map(({ name }) => name));
  const scans: string[] = [];
  for (const [statement, rows] of recording) {
    const explained: Statement<Columns> = {
      ...statement,
      render(dialect) {
        const { text, columns } = statement.render(dialect);
        return { text: `explain query plan ${text}`, columns };
      },
    };
    for (const { detail } of await store.read.all<{ detail: string }>(explained, rows[0]!)) {
      const [, table = "", index = ""] = SCAN.exec(detail) ?? [];
      if (TABLES.test(table) && !partialIndexes.has(index)) scans.push(`${detail}: ${statement.render.toString()}`);
    }
  }
  return scans;
}

const INDEXES = "select name from sqlite_master where type = 'index' and sql like ?1";

/** SQL that inserts finished and unfinished deliveries, with their payloads, runs, attempts and order keys. */
export const fill = (from: number, to: number) => `
  insert into delivery(seq, id, type, subject, at, sample, received_at, receipts, wipe_at, unhandled, kept)
    select n, 'msg_' || n, 'user.' || (array['created', 'updated', 'deleted'])[1 + n % 3], 'user_' || n % 5000, ${AT} + n, 0,
      ${AT} + n, 1, case when n % 50 = 0 then ${AT} + n end, (n % 100 = 0)::int, (n % 2000 = 0)::int
    from generate_series(${from}, ${to}) as n;
  insert into payload(seq, headers, body)
    select n, '{}', convert_to(repeat('x', 500), 'UTF8') from generate_series(${from}, ${to}) as n;
  insert into run(seq, handler, order_key, at, state, due, parked_at, attempts, owner, problem)
    select n, 'user.' || (array['created', 'updated', 'deleted'])[1 + n % 3], 'user:subject user_' || n % 5000, ${AT} + n,
      case when n % 1000 = 1 then 1 when n % 10 = 0 then 0 when n % 97 = 0 then 3 else 2 end, ${AT},
      case when n % 70 = 0 then ${AT} end, 1, case when n % 1000 = 1 then 'owner-1' end,
      case when n % 97 = 0 then 'p_' || n % 2000 end
    from generate_series(${from}, ${to}) as n;
  insert into problem(id, handler, name, message, first_at, last_at, newest, failures, opened_failures, resolved_at, news)
    select 'p_' || n % 2000, 'user.created', 'Error', 'message', ${AT}, ${AT} + n, 'msg_' || n, 9, 9,
      case when n % 20 > 0 then ${AT} + n end, case when n % 40 = 0 then 1 else 0 end
    from generate_series(${from}, ${to}) as n on conflict do nothing;
  insert into problem_day(problem, day, failures)
    select 'p_' || n % 2000, ${AT} / 86400000 - n % 20, 1 from generate_series(${from}, ${to}) as n on conflict do nothing;
  insert into attempt(run, n, started_at, took, outcome)
    select id, 1, ${AT}, 3, 'done' from run where seq between ${from} and ${to};
  insert into order_key(key, done_at) select distinct order_key, ${AT} from run where seq between ${from} and ${to}
    on conflict do nothing;
  update order_key set (state, head, handler, bulk, exclusive, due) = (
    select 1, r.id, r.handler, r.bulk, r.exclusive, r.due from run r
    where r.order_key = order_key.key and r.state = 0 and r.parked_at is null
    order by r.bulk, r.at, r.seq, r.id limit 1)`;

const AT = Date.UTC(2026, 0, 1);
