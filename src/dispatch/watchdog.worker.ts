// The watching thread: when the main one has not beaten for a second while handlers ran, it says which.
// It writes to the log's own stream, since the main thread can't.

import { writeSync } from "node:fs";

import { BEAT, FIRST, INSIDE } from "./watchdog.ts";

declare const self: Worker;

const LOOK_MS = 250;
const STALL_MS = 1_000;

let shared: Int32Array = new Int32Array(FIRST);
let json = false;
const names = new Map<number, string>();
let beat = 0;
let since = performance.now();
let looked = since;
let told = false;

interface Message {
  shared?: Int32Array;
  format?: string;
  place?: number;
  handler?: string;
}

self.addEventListener("message", ({ data }: MessageEvent<Message>) => {
  if (data.shared) {
    shared = data.shared;
    json = data.format === "json";
  }
  if (data.place !== undefined && data.handler !== undefined) names.set(data.place, data.handler);
});

setInterval(() => {
  const now = performance.now();
  const current = Atomics.load(shared, BEAT);
  const suspects = blamed();
  // Late ourselves: the machine slept, or has no time for anybody.
  const late = now - looked > 2 * LOOK_MS;
  looked = now;
  if (current !== beat || suspects.length === 0 || late) {
    if (told) say(`the thread is free again, after ${((now - since) / 1_000).toFixed(1)} s`);
    told = false;
    beat = current;
    since = now;
  } else if (!told && now - since >= STALL_MS) {
    told = true;
    const who = suspects.length === 1 ? `${suspects[0]} has` : `one of ${suspects.join(", ")} has`;
    say(`${who} blocked the thread for a second: nothing else runs, and nothing is received, until it awaits`);
  }
}, LOOK_MS);

/** Who is in its synchronous part, else everybody who runs. */
function blamed(): string[] {
  const inside = names.get(Atomics.load(shared, INSIDE));
  if (inside) return [inside];
  return [...names].filter(([place]) => Atomics.load(shared, place) > 0).map(([, name]) => name);
}

function say(message: string) {
  const time = new Date();
  const line = json
    ? JSON.stringify({ level: 40, time: time.toISOString(), msg: message })
    : `[${time.toTimeString().slice(0, 8)}] WARN: ${message}`;
  writeSync(1, `${line}\n`);
}
