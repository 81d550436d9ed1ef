// The package's exports where they are looked up without the condition "bun": by bundlers, which find a file to leave
// external; by Vite's development server, also on Bun; and by Node.js, which gets a sentence instead of a syntax error.
// Must have the name of every export; a test compares them.

function needsBun() {
  throw new Error(
    "Bellhop runs on Bun 1.4.5 or newer, and this process is not Bun. Start the application with Bun: bun --bun run dev",
  );
}

// Not a constant text, because a bundler would include the file and everything that it imports.
const entry = ["./entry", "ts"].join(".");
const bellhop = process.versions.bun ? await import(/* @vite-ignore */ /* webpackIgnore: true */ entry) : {};

// "bellhop".
export const {
  createBellhop = needsBun,
  makeTables = needsBun,
  NonRetriableError = needsBun,
  on = needsBun,
  registration = needsBun,
  registrations = needsBun,
  RetryAfterError = needsBun,
  t = needsBun,
} = bellhop;

// The others, which only handlers, tests and servers on Bun import.
export {
  needsBun as bellhop,
  needsBun as deliver,
  needsBun as drizzle,
  needsBun as ensureUser,
  needsBun as kysely,
  needsBun as mirror,
  needsBun as tablesOf,
  needsBun as testBellhop,
};
