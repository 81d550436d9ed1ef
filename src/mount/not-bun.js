// The package's exports for Node.js and bundlers, which can't load its TypeScript: a bundler finds a file to leave external,
// and a server that runs on Node.js gets a sentence. Must have the name of every export; a test compares them.

function needsBun() {
  throw new Error(
    "Bellhop runs on Bun 1.4.5 or newer, and this process is not Bun. Start the application with Bun: bun --bun run dev",
  );
}

export {
  needsBun as bellhop,
  needsBun as createBellhop,
  needsBun as deliver,
  needsBun as drizzle,
  needsBun as ensureUser,
  needsBun as kysely,
  needsBun as makeTables,
  needsBun as mirror,
  needsBun as NonRetriableError,
  needsBun as on,
  needsBun as registration,
  needsBun as registrations,
  needsBun as RetryAfterError,
  needsBun as t,
  needsBun as tablesOf,
  needsBun as testBellhop,
};
