// Fetches everybody who was there before the webhooks. Each page is one transaction together with how far it is, so that
// a backfill which was stopped goes on where it was; beside live webhooks every row decides for itself which state is later.

import type { ClerkClient } from "@clerk/backend";
import type { SQL } from "bun";

import type { Effects } from "../dispatch/effects.ts";
import { listOrganizations } from "./organizations.ts";
import { type Cursor, readPages, START } from "./pages.ts";
import { type Ask, isWithoutOrganizations, statusOf } from "./polite.ts";
import type { ClerkObject, Page, Span, Table } from "./table.ts";
import { applyRead, type MirrorTable } from "./write.ts";

export interface Backfill {
  clerk: ClerkClient;
  ask: Ask;
  effects: Effects;
  into: readonly MirrorTable[];
  /** From the beginning, whatever is done already. */
  restart?: boolean;
  /** Objects a page. Default: Clerk's most. */
  pageSize?: number | undefined;
  signal?: AbortSignal;
  onProgress?: (progress: Progress) => void;
}

export interface Progress {
  name: string;
  /** Objects that were written, or organizations that were asked. */
  done: number;
  total: number;
}

// Each of them is asked for its invitations, and a stop costs at most so many questions.
const ORGANIZATIONS_AT_A_TIME = 20;

/** How many objects of each table were read, by its name. Rejects when `signal` stops it, at the end of a page. */
export async function backfill(options: Backfill): Promise<Record<string, number>> {
  const { effects, into, restart = false } = options;
  await effects.write((tx) => tx.unsafe(PROGRESS));
  const states = await effects.sql`select name, cursor from bellhop_backfill`;
  const cursors = new Map(states.map(({ name, cursor }: Record<"name" | "cursor", string>) => [name, cursor]));
  const done = (name: string) => cursors.get(name) === DONE;
  // The last one came to its end: this is a new one.
  const anew = restart || into.every(({ name }) => done(name));
  const read: Record<string, number> = {};
  for (const to of into) {
    if (!anew && done(to.name)) continue;
    const cursor = anew ? undefined : (cursors.get(to.name) as string | undefined);
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
  /** Whose objects these are, where Clerk lists them so. */
  organizations?: string[];
}

/** A table's objects by pages; those that Clerk lists by organization, by some organizations at a time. */
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
  const some = Math.min(pageSize ?? Infinity, ORGANIZATIONS_AT_A_TIME);
  for await (const { objects, ...page } of readPages(all, from, some)) {
    const ids = objects.map(({ id }) => id as string);
    const found: ClerkObject[] = [];
    for (const id of ids) {
      const list = (span: Span) => ask(() => source.listOf(clerk, id, span)).catch(noneOfLost);
      for await (const each of readPages(list, START, pageSize)) found.push(...each.objects);
    }
    yield { ...page, objects: found, done: page.next.offset, organizations: ids };
  }
}

/** Where Organizations are turned off, there are none, and nothing is wrong. */
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
