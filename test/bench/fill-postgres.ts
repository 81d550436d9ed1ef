// Fills an inbox in Postgres by SQL, with copies of a delivery that a real server received and handled, so that the rows
// are what this version stores. No server may run on it meanwhile.

import { SQL } from "bun";

import { INVARIANTS, INVARIANTS_OF_ALL } from "../inbox/invariants.ts";
import type { Postgres } from "../postgres.ts";
import { brokenInvariants, startCluster } from "./cluster.ts";
import { load } from "./load.ts";
import { createRequests } from "./requests.ts";
import { HANDLER } from "./servers.ts";

const DAYS = 30;
const DAY_MS = 86_400_000;

/** The subject of `fillBacklog`. */
export const SLOW_SUBJECT = `user_${"s".repeat(27)}`;

/** SQL expressions by column. The row `t` is copied, and `n` counts from 1. Other columns keep their value. */
type Changes = Record<string, string>;

/** Adds handled deliveries, each of a user of its own, that arrived in the last 30 days. */
export async function fillHandled(postgres: Postgres, url: string, count: number): Promise<void> {
  // As ids of Svix do, these sort by time and differ in their end.
  const code = "lpad(n::text, 9, '0') || substr(md5(n::text), 1, 18)";
  const user = `'user_' || ${code}`;
  const at = (column: string) => `t.${column} - ((${count} - n) * ${DAYS * DAY_MS}::bigint) / ${count}`;
  const key = (column: string) => `regexp_replace(t.${column}, 'user_\\w{27}$', ${user})`;
  await fill(postgres, url, count, {
    delivery: { id: `'msg_' || ${code}`, subject: user, at: at("at"), received_at: at("received_at") },
    payload: { body: bodyOf(user) },
    run: { order_key: key("order_key"), at: at("at"), due: at("due"), first_at: at("first_at") },
    order_key: { key: key("key"), done_at: at("done_at") },
  });
}

/** Adds waiting deliveries of one subject, in order. Returns the number of the last one. */
export async function fillBacklog(postgres: Postgres, url: string, count: number): Promise<number> {
  const id = "'msg_' || lpad(n::text, 9, '0') || substr(md5(n::text), 1, 18)";
  const key = (column: string) => `regexp_replace(t.${column}, 'user_\\w{27}$', '${SLOW_SUBJECT}')`;
  const waiting = { state: "0", attempts: "0", first_at: "null", first_took: "null", wrote: "0" };
  return fill(postgres, url, count, {
    delivery: { id, subject: `'${SLOW_SUBJECT}'`, at: "t.at + n" },
    payload: { body: bodyOf(`'${SLOW_SUBJECT}'`) },
    run: { order_key: key("order_key"), at: "t.at + n", ...waiting },
    // Its first run is the head, as after an election.
    order_key: {
      key: key("key"),
      done_at: "null",
      state: "1",
      head: "(select min(id) from run where state = 0)",
      handler: "(select handler from run limit 1)",
      bulk: "0",
      exclusive: "0",
      due: "(select due from run limit 1)",
    },
  });
}

const bodyOf = (user: string) =>
  `convert_to(regexp_replace(convert_from(t.body, 'UTF8'), 'user_\\w{27}', ${user}), 'UTF8')`;

async function fill(postgres: Postgres, url: string, count: number, tables: Record<string, Changes>): Promise<number> {
  await handleOne(postgres, url);
  await using sql = new SQL(url, { max: 1 });
  const isBacklog = tables.order_key!.state === "1";
  for (const [table, changes] of Object.entries(tables)) {
    const columns: { name: string }[] = await sql`
      select attname as name from pg_attribute where attrelid = ${table}::regclass and attnum > 0 order by attnum`;
    const numbered: Changes = { seq: "t.seq + n", ...(table === "run" && { id: "t.id + n" }), ...changes };
    const rows = table === "order_key" && isBacklog ? 1 : count;
    await sql.unsafe(`
      insert into ${table}(${columns.map(({ name }) => name).join(", ")})
      select ${columns.map(({ name }) => numbered[name] ?? `t.${name}`).join(", ")}
      from (select * from ${table} limit 1) t, generate_series(1::bigint, ${rows}) n`);
  }
  for (const [table, column] of [
    ["delivery", "seq"],
    ["run", "id"],
  ])
    await sql.unsafe(
      `select setval(pg_get_serial_sequence('${table}', '${column}'), (select max(${column}) from ${table}))`,
    );
  await sql.unsafe("vacuum analyze");
  // Its own flushes must not slow the first rounds.
  await sql.unsafe("checkpoint");
  const broken = await brokenInvariants(sql, [...INVARIANTS, ...INVARIANTS_OF_ALL]);
  if (broken.length > 0) throw new Error(`the filled inbox has a ${broken.join("; ")}`);
  const [last]: { seq: string }[] = await sql`select max(seq) as seq from delivery`;
  return Number(last!.seq);
}

async function handleOne(postgres: Postgres, url: string) {
  await using server = await startCluster(postgres, url, HANDLER);
  const { answers } = await load({ port: server.port, requests: createRequests(), connections: 1, seconds: 0 });
  if (answers !== 1) throw new Error(`${answers} deliveries instead of one were stored`);
  await server.settle();
  await server.stop();
}
