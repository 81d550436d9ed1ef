// Time, chance and order in one hand: everything timed or random that the code does is a function of the seed.
// The clock jumps from event to event; what is ready at the same instant goes in seeded random order. A process that has
// crashed never runs again: its timers are gone, and whatever it still tries throws.

import { AsyncLocalStorage } from "node:async_hooks";

import { type Random, seeded } from "../random.ts";

/** One life of the server, from its start to its crash or stop. */
export interface Life {
  /** For the trace. */
  server: string;
  alive: boolean;
  /** Rejects at the crash. */
  dead: Promise<never>;
  onDeath: (() => void)[];
  /** Calls into it from outside, as a request or a person does. */
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
  /** Milliseconds since the world began; no clock of the code can move it. */
  now(): number;
  /** How far the wall clock of the machine is off. */
  skew: number;
  chance: (probability: number) => boolean;
  pick: <T>(from: readonly T[]) => T;
  between: (least: number, most: number) => number;
  /** What happened, for `--trace`. */
  log(line: string): void;
  trace: string[];
  /** Calls later, outside of any life. */
  after(milliseconds: number, call: () => void): void;
  sleep(milliseconds: number): Promise<void>;
  /** Starts a life and runs `call` in it. */
  live<T>(server: string, call: () => T): { life: Life; result: T };
  /** The life whose code is running. */
  life(): Life | undefined;
  /** Goes from event to event until `over`, or until nothing is left to happen. */
  run(over: () => boolean, until: number): Promise<void>;
}

// Some hundred times what a history takes: more is something that goes round in circles.
const MOST_STEPS = 100_000;
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

// What the code does in its host's own context, it does in this life all the same. Before any of it is loaded.
const snapshot = AsyncLocalStorage.snapshot.bind(AsyncLocalStorage);
AsyncLocalStorage.snapshot = () => {
  const host = snapshot();
  return <R, Args extends unknown[]>(call: (...args: Args) => R, ...args: Args): R => {
    const life = lives.getStore();
    return host(() => lives.run(life as Life, call, ...args));
  };
};

/** Replaces what tells the time and what is random, for good: a simulation has its process for itself. */
export function takeOver() {
  const world = () => {
    if (!current) throw new Error("there is no world");
    return current;
  };
  const timer = (event: Event) => Object.assign(event, { unref: () => event, ref: () => event });
  const later = (call: () => void, delay = 0) => timer(world().schedule(Math.max(0, delay || 0), call));
  const every = (call: () => void, delay: number) => {
    const handle = { unref: () => handle, ref: () => handle, event: undefined as unknown };
    const again = () => {
      handle.event = world().schedule(delay, () => {
        again();
        call();
      });
    };
    again();
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

  /** Until every promise that can settle has: here, all of them settle without the event loop. */
  const settle = () => new Promise<void>((resolve) => void real.setImmediate(resolve));

  const world: World = {
    random,
    now: () => now,
    skew: 0,
    chance: (probability) => random() < probability,
    pick: (from) => from[Math.floor(random() * from.length)]!,
    between: (least, most) => least + Math.floor(random() * (most - least + 1)),
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
    async run(over, until) {
      await settle();
      for (let steps = 0; steps < MOST_STEPS && !over(); steps += 1) {
        const event = next();
        if (!event || event.at > until) return;
        events.delete(event);
        now = Math.max(now, event.at);
        try {
          event.run();
        } catch (error) {
          // What a dead process throws, nobody hears.
          if (event.life?.alive !== false) throw error;
        }
        await settle();
      }
    },
  };
  current = simulated;
  return world;
}
