import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, dirname, join, normalize, resolve } from "node:path";

const SRC = resolve(import.meta.dir, "../src");

interface Import {
  /** The file, relative to `src`; or the name of a package. */
  target: string;
  isLocal: boolean;
  isTypeOnly: boolean;
  /** `new Worker` starts the file in another thread. */
  isWorker: boolean;
}

interface Source {
  file: string;
  text: string;
  imports: Import[];
}

const sources = await readSources();

async function readSources(): Promise<Source[]> {
  const files = (await readdir(SRC, { recursive: true })).filter((file) => /\.[cm]?[jt]sx?$/.test(file)).toSorted();
  return await Promise.all(
    files.map(async (file) => {
      const text = await Bun.file(join(SRC, file)).text();
      return { file, text, imports: importsOf(file, text) };
    }),
  );
}

/** Static and dynamic imports, re-exports, and the files of workers. */
function importsOf(file: string, text: string): Import[] {
  // Examples in comments are not imports.
  const code = text.replaceAll(/^\s*(?:\/\/|\/?\*).*$/gm, "");
  const patterns = {
    static: /^(?:import|export) (type )?(?:[^"'`;]*? from )?"([^"]+)"/gm,
    dynamic: /\bimport\(()\s*"([^"]+)"/g,
    worker: /\bnew Worker\(new URL\(()"(\.[^"]+)"/g,
  };
  return Object.entries(patterns).flatMap(([kind, pattern]) =>
    [...code.matchAll(pattern)].map(([, type = "", specifier = ""]) => {
      const isLocal = specifier.startsWith(".");
      const target = isLocal ? normalize(join(dirname(file), specifier)) : specifier;
      return { target, isLocal, isTypeOnly: type !== "", isWorker: kind === "worker" };
    }),
  );
}

/** `inbox` of `inbox/core.ts`, or the name of a file outside the rooms, such as `main.ts`. */
const roomOf = (file: string) => file.split("/")[0] ?? "";

/** Files outside the rooms that every room may import; they import no room's code. */
const SHARED = [
  "address.ts",
  "bun-version.ts",
  "command.ts",
  "count.ts",
  "deadline.ts",
  "disk.ts",
  "duration.ts",
  "errors.ts",
  "host-frames.ts",
  "index.ts",
  "json.ts",
  "log-output.ts",
  "open-files.ts",
  "printable.ts",
  "redact.ts",
  "settings.ts",
  "suggest.ts",
];

/** The rooms and files that each room, and each file outside them, may import; `(types)` allows type-only imports. */
const ALLOWED_IMPORTS: Record<string, string[]> = {
  adapters: [],
  "address.ts": [],
  api: ["inbox (types)", "problems (types)", "cluster (types)", "dispatch (types)", "upkeep (types)", "clerk", "monitor (types)"],
  "bun-version.ts": [],
  clerk: [],
  cluster: ["clerk", "inbox (types)", "store"],
  "command.ts": [],
  cli: [
    "..", "api", "clerk", "cluster", "config.ts", "db", "dispatch", "failures", "handlers", "inbox", "log.ts", "logger.ts", "main.ts (types)",
    "mirror", "monitor", "store", "transfer", "upkeep",
  ],
  "config.ts": ["db", "monitor", "receive", "setting-reader.ts"],
  "count.ts": [],
  db: ["clerk"],
  dispatch: ["inbox (types)", "cluster", "failures", "handlers", "db", "clerk", "monitor (types)"],
  "deadline.ts": [],
  "disk.ts": [],
  "duration.ts": [],
  "errors.ts": [],
  "event-lines.ts": ["inbox (types)", "log.ts", "logger.ts (types)", "receive (types)"],
  failures: ["handlers", "inbox (types)", "problems (types)"],
  handlers: ["adapters", "clerk", "inbox (types)", "mirror", "mount"],
  "host-frames.ts": [],
  inbox: ["clerk", "problems", "store"],
  "index.ts": ["clerk (types)"],
  inspector: ["api", "clerk", "config.ts (types)", "mcp", "monitor", "receive (types)"],
  "json.ts": [],
  "log-output.ts": [],
  "logger.ts": ["config.ts (types)", "failures"],
  "log.ts": [
    "db (types)", "dispatch (types)", "failures", "handlers (types)", "inbox (types)", "logger.ts (types)", "mirror (types)",
    "monitor", "receive (types)",
  ],
  monitor: ["clerk", "inbox (types)", "problems (types)", "setting-reader.ts (types)"],
  "monitoring.ts": [
    "cluster (types)", "config.ts (types)", "dispatch (types)", "inbox (types)", "log.ts", "logger.ts", "mirror (types)", "monitor", "receive",
    "storage.ts (types)",
  ],
  "open-files.ts": [],
  "require-bun.ts": ["bun-version.ts"],
  "setting-reader.ts": [],
  "settings.ts": [],
  "suggest.ts": [],
  mcp: ["..", "api (types)", "failures"],
  mirror: ["clerk", "db"],
  mount: ["config.ts", "handlers", "log.ts", "logger.ts", "main.ts", "receive (types)"],
  "storage.ts": ["cluster", "config.ts (types)", "db", "inbox", "log.ts", "logger.ts (types)", "store"],
  problems: ["inbox (types)", "store"],
  "presence.ts": ["..", "api (types)", "cluster", "dispatch (types)", "handlers (types)", "inbox (types)"],
  "reporting.ts": [
    "api (types)", "clerk", "config.ts (types)", "dispatch (types)", "event-lines.ts", "inbox (types)", "log.ts", "logger.ts (types)",
    "monitor (types)", "receive (types)",
  ],
  "server-info.ts": ["api (types)", "clerk", "config.ts (types)"],
  "ports.ts": ["api", "config.ts (types)", "inspector", "monitor", "receive"],
  "printable.ts": [],
  "redact.ts": [],
  receive: ["inbox (types)", "clerk", "monitor (types)"],
  store: [],
  testing: ["clerk", "config.ts", "db", "dispatch", "failures", "handlers", "inbox", "receive"],
  transfer: ["cluster (types)", "store"],
  upkeep: [
    "clerk", "cluster (types)", "config.ts (types)", "db", "handlers (types)", "inbox (types)", "log.ts",
    "logger.ts (types)", "mirror",
  ],
}; // prettier-ignore

test("the import table of this test is complete", () => {
  const transpiler = { ts: new Bun.Transpiler({ loader: "ts" }), tsx: new Bun.Transpiler({ loader: "tsx" }) };
  for (const { file, text, imports } of sources) {
    const found = new Set(imports.map(({ target }) => target));
    for (const { path } of transpiler[file.endsWith("x") ? "tsx" : "ts"].scanImports(text.replace(/^#!.*/, ""))) {
      const target = path.startsWith(".") ? normalize(join(dirname(file), path)) : path;
      // The transpiler adds React's imports for JSX.
      if (target.split("/")[0] !== "react") expect([...found], file).toContain(target);
    }
    for (const { target, isLocal } of imports)
      if (isLocal) expect(existsSync(join(SRC, target)) || target, file).toBe(true);
  }
  expect(sources.some(({ file }) => file.endsWith(".tsx"))).toBe(true);
});

test("imports between rooms are allowed by the table", () => {
  const violations: string[] = [];
  for (const { file, imports } of sources) {
    const room = roomOf(file);
    if (room === "main.ts") continue;
    const allowed = ALLOWED_IMPORTS[room];
    if (!allowed) violations.push(`${file}: ALLOWED_IMPORTS does not list ${room}`);
    for (const { target, isLocal, isTypeOnly } of imports) {
      const other = roomOf(target);
      if (!isLocal || other === room || SHARED.includes(other)) continue;
      const isAllowed = allowed?.includes(other) || (isTypeOnly && allowed?.includes(`${other} (types)`));
      if (!isAllowed) violations.push(`${file} imports ${isTypeOnly ? "a type of " : ""}${target}`);
    }
  }
  expect(violations).toEqual([]);
});

// Type-only imports are left out: they do not exist at runtime, and types may refer to each other, as in inbox.ts and
// views.ts. So are workers, which load their file as a separate program, and the function that opens a server, which
// "bellhop" also exports where handlers replace it: when it is called, every file of its cycle is loaded.
test("there are no import cycles", () => {
  const targets = new Map(
    sources.map(({ file, imports }) => [
      file,
      imports
        .filter(({ isLocal, isTypeOnly, isWorker }) => isLocal && !isTypeOnly && !isWorker)
        .filter(({ target }) => file !== "handlers/version.ts" || target !== "mount/create-bellhop.ts")
        .map(({ target }) => target),
    ]),
  );
  const isChecked = new Set<string>();
  const cycles: string[] = [];
  const visit = (file: string, path: string[]) => {
    if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(" -> "));
    else if (!isChecked.has(file)) for (const target of targets.get(file) ?? []) visit(target, [...path, file]);
    isChecked.add(file);
  };
  for (const file of targets.keys()) visit(file, []);
  expect(cycles).toEqual([]);
});

test("a file name has one meaning", () => {
  const byName = Map.groupBy(sources, ({ file }) => basename(file));
  const repeated = [...byName].filter(([, files]) => files.length > 1).map(([name]) => name);
  expect(repeated.toSorted()).toEqual([
    // The API's routes, and the command.
    "deliveries.ts",
    // The handlers' database and the inbox have the same parts.
    "postgres.ts",
    // The inbox's, the API's routes, and the command.
    "problems.ts",
    "query.ts",
    // The inbox's operation, and the command.
    "replay.ts",
    "retention.ts",
    "schema.ts",
    "sqlite.ts",
  ]);
});

test("each external dependency is used only by the files that own it", () => {
  const owners: Record<string, string[]> = {
    elysia: [
      "api/app.ts",
      ...["deliveries", "erasure-routes", "handler-pauses", "live", "problems", "replays", "searches", "selection"].map(
        (name) => `api/routes/${name}.ts`,
      ),
      "inspector/inspector.ts",
      "inspector/page-routes.ts",
      "mount/elysia.ts",
      "receive/server.ts",
    ],
    "bun:sqlite": ["store/sqlite-connection.ts", "transfer/copy.ts"],
    pino: ["logger.ts"],
    "pino-pretty": ["logger.ts"],
    "@opentelemetry/api": ["monitor/traces.ts"],
    "prom-client": ["monitor/prometheus.ts"],
    nodemailer: ["monitor/alert-channels.ts"],
    // Tests use it as an oracle.
    svix: [],
    citty: [
      "alert",
      "backup",
      "cli",
      "deliveries",
      "doctor",
      "erase",
      "handlers",
      "init",
      "mirror-commands",
      "move",
      "new",
      "pause",
      "problems",
      "replay",
      "restore",
      "send",
      "serve",
      "try",
    ].map((name) => `cli/${name}.ts`),
  };
  for (const [name, files] of Object.entries(owners)) {
    const importing = sources.filter(({ imports }) =>
      imports.some(({ target, isTypeOnly }) => target === name && !isTypeOnly),
    );
    expect(importing.map(({ file }) => file)).toEqual(files);
  }
  const filesWith = (pattern: RegExp) => sources.filter(({ text }) => pattern.test(text)).map(({ file }) => file);
  expect(filesWith(/\bnew (?:Bun\.)?SQL\(/)).toEqual(["db/effects.ts", "store/postgres.ts"]);
  expect(filesWith(/\bprocess\.env\b/)).toEqual(["config.ts"]);
});

test("only createBellhop imports main.ts, except for types", () => {
  const importing = sources.filter(({ imports }) =>
    imports.some(({ target, isTypeOnly }) => target === "main.ts" && !isTypeOnly),
  );
  expect(importing.map(({ file }) => file)).toEqual(["mount/create-bellhop.ts"]);
});
