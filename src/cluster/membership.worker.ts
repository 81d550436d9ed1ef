// The thread that renews a server's row every second, so that a handler that blocks the main thread is not taken for a
// dead server. Reports the other servers, and makes this one stop its attempts before it is taken for dead.

import { setTimeout as sleep } from "node:timers/promises";

import { openPostgresReader, type PostgresReader } from "../store/postgres.ts";
import type { FromMembership, ToMembership } from "./membership.ts";
import { createLiveness, FENCED_AFTER_MS, register, remove, renew } from "./servers.ts";

declare const self: Worker;

const BEAT_MS = 1_000;
// An unanswered beat is sent again on another connection.
const DEADLINE_MS = 1_500;

let reader: PostgresReader | undefined;
let id: string = crypto.randomUUID();
let about = "";
let isRegistered = false;
let isFenced = false;
let renewedAt = performance.now();
let isStopping = false;
let beating: Promise<unknown> = Promise.resolve();
const findDead = createLiveness();

const post = (message: FromMembership) => self.postMessage(message);

self.addEventListener("message", ({ data }: MessageEvent<ToMembership>) => {
  if (data.about !== undefined) ({ about } = data);
  if (data.address) {
    reader = openPostgresReader(data.address, { connections: 1, deadlineMs: DEADLINE_MS });
    void run();
  }
  if (data.look !== undefined) {
    const { look } = data;
    beating = beating.then(beat).then((isKnown) => post({ kind: "looked", look, isKnown }));
  }
  if (data.stop) void stop();
});

async function run() {
  renewedAt = performance.now();
  while (!isStopping) {
    beating = beating.then(beat);
    await beating;
    await sleep(BEAT_MS);
  }
}

// Apart from the beats, which may be waiting for Postgres.
setInterval(() => {
  if (isRegistered && !isFenced && performance.now() - renewedAt > FENCED_AFTER_MS) fence("Postgres does not answer");
}, 100);

function fence(reason: string) {
  isFenced = true;
  post({ kind: "fenced", reason });
}

/** Returns whether Postgres has answered. */
async function beat(): Promise<boolean> {
  if (isStopping || !reader) return false;
  const startedAt = performance.now();
  try {
    if (!isRegistered) await register(reader, id, about);
    const rows = await renew(reader, id, about);
    if (!rows) {
      // Its runs are being taken over. Attempts of the old id must not be confused with new ones.
      if (!isFenced) fence("another server has declared this one dead");
      id = crypto.randomUUID();
      isRegistered = false;
      return false;
    }
    // A late answer describes the moment of its request.
    renewedAt = startedAt;
    const wasFenced = isFenced || !isRegistered;
    [isFenced, isRegistered] = [false, true];
    const others = rows.filter((row) => row.id !== id);
    const dead = findDead(others, startedAt);
    for (const row of others) if (dead.has(row.id)) await remove(reader, row.id, row.beat);
    post({ kind: "servers", id, wasFenced, others: others.filter((row) => !dead.has(row.id)) });
    return true;
  } catch {
    // The next beat tries again.
    return false;
  }
}

async function stop() {
  isStopping = true;
  await beating;
  if (reader && isRegistered) await remove(reader, id).catch(() => undefined);
  await reader?.close().catch(() => undefined);
  post({ kind: "stopped" });
}
