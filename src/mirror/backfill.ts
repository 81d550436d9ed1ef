// Copies all objects that Clerk had before the first webhook. Each page is written in one transaction with its cursor,
// so that a stopped backfill continues there. Safe beside live webhooks: every row keeps the later of two states.

import type { ClerkClient } from "@clerk/backend";
import type { SQL } from "bun";

import type { Effects } from "../db/effects.ts";
import { listOrganizations } from "./organizations.ts";
import { type Cursor, readPages, START } from "./pages.ts";
import type { ClerkObject, Page, Span, Table } from "./table.ts";
import { type Ask, isWithoutOrganizations, statusOf } from "./throttle.ts";
import { applyRead, type MirrorTable } from "./write.ts";

export interface Backfill {
  clerk: ClerkClient;
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
  /** Objects that were written, or organizations whose objects were listed. */
  done: number;
  total: number;
}

// One request per organization lists its invitations; after a stop, at most this many are repeated.
const ORGANIZATIONS_PER_PAGE = 20;

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
    read[to.name] = await backfillTable(options, to, cursor ? (JSON.parse(cursor) as Cursor) : START);
  }
  return read;
}

async function backfillTable(options: Backfill, to: MirrorTable, from: Cursor): Promise<number> {
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
  next: Cursor;
  done: number;
  total: number;
  /** The organizations of these objects, where Clerk lists them by organization. */
  organizations?: string[];
}

/** A table's objects, page by page; where Clerk lists them by organization, a page covers several organizations. */
export async function* pagesOf(
  { clerk, ask, pageSize }: Pick<Backfill, "clerk" | "ask" | "pageSize">,
  { source }: Table,
  from: Cursor = START,
): AsyncGenerator<TablePage> {
  if ("list" in source) {
    const list = (span: Span) => ask(() => source.list(clerk, span), source.requests).catch(orNone);
    for await (const page of readPages(list, from, pageSize)) yield { ...page, done: page.next.offset };
    return;
  }
  const all = (span: Span) => ask(() => listOrganizations(clerk, span)).catch(orNone);
  const some = Math.min(pageSize ?? Infinity, ORGANIZATIONS_PER_PAGE);
  for await (const { objects, ...page } of readPages(all, from, some)) {
    const ids = objects.map(({ id }) => id as string);
    const found: ClerkObject[] = [];
    for (const id of ids) {
      const list = (span: Span) => ask(() => source.listOf(clerk, id, span)).catch(noneOfLost);
      for await (const part of readPages(list, START, pageSize)) found.push(...part.objects);
    }
    yield { ...page, objects: found, done: page.next.offset, organizations: ids };
  }
}

/** An instance with Organizations turned off has none; that is not an error. */
function orNone(error: unknown): Page {
  if (isWithoutOrganizations(error)) return { objects: [], total: 0 };
  throw error;
}

/** The organization was deleted after it was listed. */
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
