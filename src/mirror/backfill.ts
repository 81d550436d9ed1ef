// Copies all objects that Clerk had before the first webhook. Each page is written in one transaction with its cursor,
// so that a stopped backfill continues there. Safe beside live webhooks: every row keeps the later of two states.

import type { SQL } from "bun";

import type { Get } from "../clerk/requests.ts";
import type { Effects } from "../db/effects.ts";
import { type Cursor, readPages, START } from "./pages.ts";
import type { ClerkObject, Page, Source, Span, Table } from "./table.ts";
import { type Ask, isWithoutOrganizations, statusOf } from "./throttle.ts";
import { applyRead, type MirrorTable } from "./write.ts";

export interface Backfill {
  get: Get;
  ask: Ask;
  effects: Effects;
  into: readonly MirrorTable[];
  /** Start over, although parts are done already. */
  restart?: boolean;
  /** Objects per page. Default: Clerk's maximum. */
  pageSize?: number | undefined;
  signal?: AbortSignal;
  onProgress?: (progress: Progress) => void;
}

export interface Progress {
  name: string;
  /** Objects that were written, or parents (organizations, users …) whose objects were listed. */
  done: number;
  total: number;
}

// One request per parent lists its objects; after a stop, at most this many are repeated.
const PARENTS_PER_PAGE = 20;

/** Returns the number of objects read, by table name. Rejects at the end of a page when `signal` is aborted. */
export async function backfill(options: Backfill): Promise<Record<string, number>> {
  const { effects, into, restart = false } = options;
  await effects.write((tx) => tx.unsafe(PROGRESS));
  const states = await effects.sql`select name, cursor from bellhop_backfill`;
  const cursors = new Map(states.map(({ name, cursor }: Record<"name" | "cursor", string>) => [name, cursor]));
  const done = (name: string) => cursors.get(name) === DONE;
  // The previous backfill is complete, so this one starts over.
  const startsOver = restart || into.every(({ name }) => done(name));
  const read: Record<string, number> = {};
  for (const to of into) {
    if (!startsOver && done(to.name)) continue;
    const cursor = startsOver ? undefined : (cursors.get(to.name) as string | undefined);
    read[to.name] = await backfillTable(options, to, cursor ? (JSON.parse(cursor) as TableCursor) : START);
  }
  return read;
}

async function backfillTable(options: Backfill, to: MirrorTable, from: TableCursor): Promise<number> {
  const { effects, signal, onProgress } = options;
  let count = 0;
  for await (const { objects, readAt, next, total, done } of pagesOf(options, to.table, from)) {
    await effects.write(async (tx) => {
      await applyRead(tx, to, objects, readAt);
      await saveCursor(tx, to.name, JSON.stringify(next));
    });
    count += objects.length;
    onProgress?.({ name: to.name, done, total });
    signal?.throwIfAborted();
  }
  await effects.write((tx) => saveCursor(tx, to.name, DONE));
  return count;
}

interface TablePage {
  objects: ClerkObject[];
  readAt: number;
  next: TableCursor;
  done: number;
  total: number;
  /** The parents of these objects, where Clerk lists them by organization, user and so on. */
  parents?: { column: string; ids: string[] };
}

/** `parent` is the position in `parents` of the table's source. */
type TableCursor = Cursor & { parent?: number };

/** A table's objects, page by page; where Clerk lists them by parent, a page covers several parents. */
export async function* pagesOf(
  { get, ask, pageSize }: Pick<Backfill, "get" | "ask" | "pageSize">,
  { source }: Table,
  from: TableCursor = START,
): AsyncGenerator<TablePage> {
  const pages = ({ list, requests }: Source, start: Cursor, limit?: number) =>
    readPages((span) => ask(() => list(get, span), requests).catch(orNone), start, limit);
  if ("list" in source) {
    for await (const page of pages(source, from, pageSize)) yield { ...page, done: page.next.offset };
    return;
  }
  const some = Math.min(pageSize ?? Infinity, PARENTS_PER_PAGE);
  const { parent: first = 0, ...start } = from;
  for (const [index, parent] of source.parents.entries()) {
    if (index < first) continue;
    const begin = index === first ? start : START;
    let last = begin.id;
    for await (const { objects, next, ...page } of pages(parent, begin, some)) {
      // A page begins with the last parent of the page before.
      const parents = objects.filter(({ id }) => id !== last);
      last = next.id;
      const found = new Map<unknown, ClerkObject>();
      for (const object of parents) {
        const list = (span: Span) => ask(() => source.listOf(get, object, span)).catch(noneOfLost);
        for await (const part of readPages(list, START, pageSize))
          for (const child of part.objects) found.set(child["id"], child);
      }
      yield {
        ...page,
        objects: [...found.values()],
        next: { ...next, parent: index },
        done: next.offset,
        parents: { column: parent.column, ids: parents.map(({ id }) => id as string) },
      };
    }
  }
}

/** An instance with Organizations turned off has none; that is not an error. */
function orNone(error: unknown): Page {
  if (isWithoutOrganizations(error)) return { objects: [], total: 0 };
  throw error;
}

/** The parent was deleted after it was listed, or has none. */
function noneOfLost(error: unknown): Page {
  if (statusOf(error) === 404) return { objects: [], total: 0 };
  throw error;
}

const DONE = "done";
const PROGRESS = "create table if not exists bellhop_backfill (name text primary key, cursor text not null)";

async function saveCursor(tx: SQL, name: string, cursor: string): Promise<void> {
  await tx`insert into bellhop_backfill (name, cursor) values (${name}, ${cursor})
    on conflict (name) do update set cursor = excluded.cursor`;
}
