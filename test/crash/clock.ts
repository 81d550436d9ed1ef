// Preloaded into a server whose clock is wrong by `CRASH_CLOCK_OFFSET_MS`. Handlers still log the right time, because they
// read `performance`, which does not change.

const offsetMs = Number(process.env.CRASH_CLOCK_OFFSET_MS ?? 0);
const RealDate = Date;
const realNow = Date.now;
const now = () => realNow() + offsetMs;

// A subclass would break `instanceof` for the dates that Bun itself creates.
globalThis.Date = new Proxy(RealDate, {
  construct: (target, args, newTarget) => Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget),
});
RealDate.now = now;
