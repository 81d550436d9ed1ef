// Simulated time, randomness and scheduling: everything timed or random is a function of the seed. The clock jumps from
// event to event; simultaneous events run in seeded random order. A crashed process never runs again: its timers are
// removed, and whatever it still calls throws.

import { AsyncLocalStorage } from "node:async_hooks";

import { type Random, seeded } from "../random.ts";

/** One process of a server, from its start to its crash or stop. */
export interface Life {
  /** The name of the server in the trace. */
  server: string;
  alive: boolean;
  /** Rejects at the crash. */
  dead: Promise<never>;
  onDeath: (() => void)[];
  /** Calls into the process from outside, as a request does. */
  enter<T>(call: () => T): T;
  die(): void;
}

export class Dead extends Error {
  override name = "Dead";
}

interface Event {
  at: number;
  order: number;
  life: Life | undefined;
  run: () => void;
}

export interface World {
  readonly random: Random;
  /** Milliseconds since the start of the simulation. `skew` does not affect it. */
  now(): number;
  /** By how many milliseconds the wall clock is wrong. */
  skew: number;
  chance: (probability: number) => boolean;
  pick: <T>(from: readonly T[]) => T;
  between: (min: number, max: number) => number;
  /** Adds a line to the trace, which `--trace` prints. */
  log(line: string): void;
  trace: string[];
  /** Schedules a call outside of any process. */
  after(milliseconds: number, call: () => void): void;
  sleep(milliseconds: number): Promise<void>;
  /** Starts a process and runs `call` in it. */
  live<T>(server: string, call: () => T): { life: Life; result: T };
  /** The process whose code is running. */
  life(): Life | undefined;
  /** Runs events until `isFinished`, or until none is left before `until`. */
  run(isFinished: () => boolean, until: number): Promise<void>;
  /** Lets time pass in which nothing runs, as on a machine that is suspended. */
  suspend(milliseconds: number): void;
  /** No more events run. */
  stop(): void;
}

// Some hundred times the steps of a history. More of them mean an endless loop.
const MAX_STEPS = 100_000;
const EPOCH = Date.UTC(2026, 5, 1);
const real = {
  setImmediate: globalThis.setImmediate,
  setTimeout: globalThis.setTimeout,
};

const lives = new AsyncLocalStorage<Life>();
let current: Simulated | undefined;

interface Simulated {
  schedule(delay: number, call: () => void): Event;
  cancel(event: unknown): void;
  now(): number;
  wall(): number;
  random: Random;
}

// Code that enters its host's async context must stay in its simulated process. Set before that code is loaded.
const snapshot = AsyncLocalStorage.snapshot.bind(AsyncLocalStorage);
AsyncLocalStorage.snapshot = () => {
  const host = snapshot();
  return <R, Args extends unknown[]>(call: (...args: Args) => R, ...args: Args): R => {
    const life = lives.getStore();
    return host(() => lives.run(life as Life, call, ...args));
  };
};

/** Replaces clocks, timers and randomness for good: a simulation needs an operating system process of its own. */
export function replaceGlobals() {
  const world = () => {
    if (!current) throw new Error("createWorld was not called");
    return current;
  };
  const timer = (event: Event) => Object.assign(event, { unref: () => event, ref: () => event });
  const later = (call: () => void, delay = 0) => timer(world().schedule(Math.max(0, delay || 0), call));
  const every = (call: () => void, delay: number) => {
    const handle = { unref: () => handle, ref: () => handle, event: undefined as unknown };
    const repeat = () => {
      handle.event = world().schedule(delay, () => {
        repeat();
        call();
      });
    };
    repeat();
    return handle;
  };
  const clear = (handle: unknown) => {
    if (handle) world().cancel((handle as { event?: unknown }).event ?? handle);
  };
  const uuid = () => {
    const hex = () => Math.floor(world().random() * 0x10000).toString(16).padStart(4, "0"); // prettier-ignore
    return `${hex()}${hex()}-${hex()}-${hex()}-${hex()}-${hex()}${hex()}${hex()}`;
  };
  Object.assign(globalThis, {
    setTimeout: later,
    setImmediate: (call: () => void) => later(call, 0),
    setInterval: every,
    clearTimeout: clear,
    clearInterval: clear,
    clearImmediate: clear,
  });
  Object.assign(Bun, { sleep: (delay: number) => new Promise<void>((resolve) => void later(resolve, delay)) });
  performance.now = () => world().now();
  Date.now = () => world().wall();
  Math.random = () => world().random();
  crypto.randomUUID = uuid as () => `${string}-${string}-${string}-${string}-${string}`;
}

export function createWorld(seed: number): World {
  const random = seeded(seed);
  const events = new Set<Event>();
  const trace: string[] = [];
  let now = 0;
  let stopped = false;

  const simulated: Simulated = {
    schedule(delay, call) {
      const life = lives.getStore();
      const event = { at: now + delay, order: random(), life, run: () => lives.run(life as Life, call) };
      if (life?.alive !== false) events.add(event);
      return event;
    },
    cancel: (event) => void events.delete(event as Event),
    now: () => now,
    wall: () => EPOCH + Math.round(now) + world.skew,
    random,
  };

  function next(): Event | undefined {
    let first: Event | undefined;
    for (const event of events)
      if (!first || event.at < first.at || (event.at === first.at && event.order < first.order)) first = event;
    return first;
  }

  /** Waits until every promise has settled that can. None of them needs the event loop for that. */
  const settle = () => new Promise<void>((resolve) => void real.setImmediate(resolve));

  const world: World = {
    random,
    now: () => now,
    skew: 0,
    chance: (probability) => random() < probability,
    pick: (from) => from[Math.floor(random() * from.length)]!,
    between: (min, max) => min + Math.floor(random() * (max - min + 1)),
    log: (line) => void trace.push(`${String(Math.round(now)).padStart(9)} ${lives.getStore()?.server ?? " "} ${line}`),
    trace,
    after: (milliseconds, call) =>
      void lives.run(undefined as unknown as Life, () => simulated.schedule(milliseconds, call)),
    sleep: (milliseconds) => new Promise((resolve) => world.after(milliseconds, resolve)),
    live(server, call) {
      const { promise: dead, reject } = Promise.withResolvers<never>();
      dead.catch(() => undefined);
      const life: Life = {
        server,
        alive: true,
        dead,
        onDeath: [],
        enter: (call) => lives.run(life, call),
        die() {
          if (!life.alive) return;
          life.alive = false;
          for (const event of events) if (event.life === life) events.delete(event);
          for (const call of life.onDeath) call();
          reject(new Dead("the process is dead"));
        },
      };
      return { life, result: lives.run(life, call) };
    },
    life: () => lives.getStore(),
    async run(isFinished, until) {
      await settle();
      for (let steps = 0; steps < MAX_STEPS && !stopped && !isFinished(); steps += 1) {
        const event = next();
        if (!event || event.at > until) return;
        events.delete(event);
        now = Math.max(now, event.at);
        try {
          event.run();
        } catch (error) {
          // Errors of a dead process have no effect.
          if (event.life?.alive !== false) throw error;
        }
        await settle();
      }
    },
    suspend: (milliseconds) => void (now += milliseconds),
    stop: () => void (stopped = true),
  };
  current = simulated;
  return world;
}
