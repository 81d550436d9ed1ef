// Preloaded into a server whose clock is wrong by `CRASH_CLOCK_OFFSET_MS`. Handlers log the right time nevertheless: they
// read `performance`, which this leaves alone.

const offsetMs = Number(process.env.CRASH_CLOCK_OFFSET_MS ?? 0);
const RealDate = Date;
const realNow = Date.now;
const now = () => realNow() + offsetMs;

// A subclass would break `instanceof` for the dates that Bun itself makes.
globalThis.Date = new Proxy(RealDate, {
  construct: (target, args, newTarget) => Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget),
});
RealDate.now = now;
