// Preloaded into a server of a test: the pauses between alerts and between looks for silence are 20 times shorter.

const QUICK: Readonly<Record<number, number>> = { 5_000: 250, 60_000: 3_000 };

const { setTimeout: timeout, setInterval: interval } = globalThis;
const quick =
  (start: typeof timeout) =>
  (call: (...args: unknown[]) => void, milliseconds = 0, ...args: unknown[]) =>
    start(call, QUICK[milliseconds] ?? milliseconds, ...args);

Object.assign(globalThis, { setTimeout: quick(timeout), setInterval: quick(interval as typeof timeout) });
