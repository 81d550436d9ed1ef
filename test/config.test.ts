import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import {
  type Config,
  describeProblems,
  type Environment,
  makeDevSecret,
  type Mode,
  type Problem,
  readConfig,
} from "../src/config.ts";
import { misspelledSettings, settings } from "../src/settings.ts";
import { SECRET } from "./harness.ts";

const NAME = "CLERK_WEBHOOK_SIGNING_SECRET";
const TOKEN = "an-inspector-token-of-32-letters";
const KEY = Buffer.from(SECRET.slice("whsec_".length), "base64");

function configOf(env: Environment = {}, mode: Mode = "start"): Config {
  const read = readConfig({ [NAME]: SECRET, ...env }, mode);
  if ("problems" in read) throw new Error(describeProblems(read.problems));
  return read.config;
}

function problemsOf(env: Environment, mode: Mode = "start"): Problem[] {
  const read = readConfig({ [NAME]: SECRET, ...env }, mode);
  return "problems" in read ? read.problems : [];
}

test("with only the secret set, every setting has its default", () => {
  const common = {
    secrets: [KEY],
    isDevSecret: false,
    clerkSecretKey: undefined,
    port: 3_000,
    webhookPath: "/api/webhooks",
    handlersDir: "handlers",
    dataDir: "data",
    database: { kind: "sqlite", filename: "data/app.db" },
    concurrency: 16,
    maxBodyBytes: 1_048_576,
    retentionDays: 90,
    shutdownSeconds: 25,
    inspector: { port: 3_001, host: "127.0.0.1", token: undefined },
    metricsPort: undefined,
    silenceAfter: "learned",
    heartbeatUrl: undefined,
    logLevel: "info",
  };
  expect(configOf({}, "dev")).toMatchObject({ ...common, mode: "dev", host: "127.0.0.1", logFormat: "pretty" });
  expect(configOf({}, "start")).toMatchObject({ ...common, mode: "start", host: "0.0.0.0", logFormat: "json" });
});

const POSTGRES = "postgres://app:secret@localhost:5432/app";
const SLACK = "https://hooks.slack.com/services/T1/B1/x";

const valid: [name: string, text: string, setting: keyof Config, value: unknown][] = [
  ["CLERK_SECRET_KEY", "sk_test_abc", "clerkSecretKey", "sk_test_abc"],
  ["CLERK_API_URL", "http://127.0.0.1:4000/", "clerkApiUrl", "http://127.0.0.1:4000"],
  ["PORT", "8080", "port", 8_080],
  ["PORT", "0", "port", 0],
  ["PORT", "65535", "port", 65_535],
  ["HOST", "::1", "host", "::1"],
  ["WEBHOOK_PATH", "/hooks/clerk", "webhookPath", "/hooks/clerk"],
  ["WEBHOOK_PATH", "/hooks/", "webhookPath", "/hooks"],
  ["WEBHOOK_PATH", "/", "webhookPath", "/"],
  ["HANDLERS_DIR", "/srv/handlers", "handlersDir", "/srv/handlers"],
  ["DATA_DIR", "../data 2", "dataDir", "../data 2"],
  ["INBOX_URL", POSTGRES, "inbox", { kind: "postgres", url: POSTGRES, prepare: true }],
  ["INBOX_URL", POSTGRES, "database", { kind: "postgres", url: POSTGRES, prepare: true }],
  ["INBOX_URL", `${POSTGRES}?pgbouncer=true`, "inbox", { kind: "postgres", url: POSTGRES, prepare: false }],
  ["DATABASE_URL", "sqlite:../app.db", "database", { kind: "sqlite", filename: "../app.db" }],
  ["CONCURRENCY", "1", "concurrency", 1],
  ["BREAKER_AFTER", "0", "breakerAfter", 0],
  ["BLOCKED_SECONDS", "0", "blockedSeconds", 0],
  ["BLOCKED_SECONDS", "600", "blockedSeconds", 600],
  ["MAX_BODY_BYTES", "2097152", "maxBodyBytes", 2_097_152],
  ["TRUST_PROXY", "1", "trustProxy", 1],
  ["ERASE_AFTER", "30d", "eraseAfter", 30 * 86_400_000],
  ["RETENTION_DAYS", "7", "retentionDays", 7],
  ["INSPECTOR_PORT", "0", "inspector", { port: 0, host: "127.0.0.1", token: undefined }],
  ["INSPECTOR_HOST", "::1", "inspector", { port: 3_001, host: "::1", token: undefined }],
  ["INSPECTOR_HOST", "127.0.0.2", "inspector", { port: 3_001, host: "127.0.0.2", token: undefined }],
  ["INSPECTOR_TOKEN", TOKEN, "inspector", { port: 3_001, host: "127.0.0.1", token: TOKEN }],
  ["SHUTDOWN_SECONDS", "0", "shutdownSeconds", 0],
  ["METRICS_PORT", "9464", "metricsPort", 9_464],
  ["METRICS_PORT", " ", "metricsPort", undefined],
  ["SILENCE_AFTER", "6h", "silenceAfter", 21_600_000],
  ["SILENCE_AFTER", "off", "silenceAfter", "off"],
  ["HEARTBEAT_URL", "https://hc-ping.com/a-b", "heartbeatUrl", "https://hc-ping.com/a-b"],
  ["ALERT_URLS", SLACK, "alerts", [{ kind: "slack", name: "hooks.slack.com", url: SLACK }]],
  ["MCP_WRITE", "1", "mcpWrite", true],
  ["LOG_LEVEL", "silent", "logLevel", "silent"],
  ["LOG_FORMAT", "pretty", "logFormat", "pretty"],
];

test.each(valid)("%s=%s is used", (name, text, setting, value) => {
  expect(configOf({ [name]: text })[setting]).toEqual(value as never);
  expect(configOf({ [name]: `  ${text} ` })[setting]).toEqual(value as never);
});

test("an empty or blank setting has its default", () => {
  const names = settings.map(({ name }) => name).filter((name) => name !== NAME);
  for (const blank of ["", "   "])
    expect(configOf(Object.fromEntries(names.map((name) => [name, blank])))).toEqual(configOf());
});

const invalid: [name: string, text: string, message: string, example: string][] = [
  ["CLERK_API_URL", "api.clerk.com", "expected an address", "CLERK_API_URL=https://api.clerk.com"],
  ["CLERK_SECRET_KEY", "pk_test_abc", "does not begin with sk_", "CLERK_SECRET_KEY=sk_"],
  ["CLERK_SECRET_KEY", SECRET, "belongs in CLERK_WEBHOOK_SIGNING_SECRET", "CLERK_SECRET_KEY=sk_"],
  ["PORT", "http", 'is "http", expected a whole number from 0 to 65535', "PORT=3000"],
  ["PORT", "65536", "expected a whole number from 0 to 65535", "PORT=3000"],
  ["PORT", "-1", "expected a whole number", "PORT=3000"],
  ["PORT", "3000.5", "expected a whole number", "PORT=3000"],
  ["PORT", "0x10", "expected a whole number", "PORT=3000"],
  ["WEBHOOK_PATH", "api/webhooks", "begins with /", "WEBHOOK_PATH=/api/webhooks"],
  ["WEBHOOK_PATH", "https://example.com/hooks", "begins with /", "WEBHOOK_PATH=/api/webhooks"],
  ["WEBHOOK_PATH", "/hooks?a=1", "begins with /", "WEBHOOK_PATH=/api/webhooks"],
  ["WEBHOOK_PATH", "/health", "is not /health", "WEBHOOK_PATH=/api/webhooks"],
  ["WEBHOOK_PATH", "/health/", "is not /health", "WEBHOOK_PATH=/api/webhooks"],
  ["INBOX_URL", "sqlite:inbox.db", "is a SQLite address", "INBOX_URL=postgres://"],
  ["INBOX_URL", "mysql://root:secret@localhost/app", "is a mysql address", "INBOX_URL=postgres://"],
  ["DATABASE_URL", "mysql://root:secret@localhost/app", "is a mysql address", "DATABASE_URL=postgres://"],
  ["DATABASE_URL", "localhost/app", "neither postgres:// nor sqlite:", "DATABASE_URL=postgres://"],
  ["CONCURRENCY", "0", "expected a whole number from 1 to 10000", "CONCURRENCY=16"],
  ["BREAKER_AFTER", "off", "expected a whole number from 0", "BREAKER_AFTER=20"],
  ["BLOCKED_SECONDS", "1m", "expected a whole number from 0 to 86400", "BLOCKED_SECONDS=60"],
  ["MAX_BODY_BYTES", "1MB", "expected a whole number", "MAX_BODY_BYTES=1048576"],
  ["MAX_BODY_BYTES", "100", "expected a whole number from 1024", "MAX_BODY_BYTES=1048576"],
  ["TRUST_PROXY", "true", "expected a whole number from 0 to 10", "TRUST_PROXY=0"],
  ["DRIFT_EVERY", "daily", "expected a duration of 1m or more, such as 6h, or never", "DRIFT_EVERY=never"],
  ["DRIFT_EVERY", "1d", "needs CLERK_SECRET_KEY", "DRIFT_EVERY=1d"],
  ["ERASE_AFTER", "a month", "expected a duration of 1m or more, such as 6h, or never", "ERASE_AFTER=never"],
  ["RETENTION_DAYS", "0", "expected a whole number from 1", "RETENTION_DAYS=90"],
  ["INSPECTOR_PORT", "65536", "expected a whole number from 0 to 65535", "INSPECTOR_PORT=3001"],
  ["INSPECTOR_HOST", "0.0.0.0", 'is "0.0.0.0", where others can reach the inspector', "INSPECTOR_TOKEN=…"],
  ["INSPECTOR_HOST", "::", "it needs INSPECTOR_TOKEN, or 127.0.0.1", "INSPECTOR_TOKEN=…"],
  ["INSPECTOR_HOST", "127.0.0.1.example.com", "it needs INSPECTOR_TOKEN", "INSPECTOR_TOKEN=…"],
  ["INSPECTOR_TOKEN", "twenty-three-characters", "has only 23 characters, expected 24", "openssl rand -hex 24"],
  ["SHUTDOWN_SECONDS", "25s", "expected a whole number", "SHUTDOWN_SECONDS=25"],
  ["METRICS_PORT", "70000", "expected a whole number from 0 to 65535", "METRICS_PORT=9464"],
  ["SILENCE_AFTER", "5s", "expected a duration of 1m or more", "SILENCE_AFTER=learned"],
  [
    "SILENCE_AFTER",
    "never",
    "expected a duration of 1m or more, such as 6h, or learned or off",
    "SILENCE_AFTER=learned",
  ],
  ["HEARTBEAT_URL", "hc-ping.com/a-secret", "is not an address that begins with https://", "HEARTBEAT_URL=https://"],
  ["ALERT_URLS", "hooks.slack.com/services/T/B/x", "is not an address", "ALERT_URLS=https://hooks.slack.com"],
  ["ALERT_SECRET", "whsec_%", "is not whsec_ followed by base64", "ALERT_SECRET=whsec_"],
  ["MCP_WRITE", "true", "expected one of 0, 1", "MCP_WRITE=0"],
  ["LOG_LEVEL", "verbose", "expected one of debug, info, warn, error, silent", "LOG_LEVEL=info"],
  ["LOG_FORMAT", "xml", "expected one of pretty, json", "LOG_FORMAT=json"],
];

test.each(invalid)("%s=%s is rejected with the reason and an example", (name, text, message, example) => {
  expect(problemsOf({ [name]: text })).toEqual([
    { name, message: expect.stringContaining(message), example: expect.stringContaining(example) },
  ]);
});

test("a public INSPECTOR_HOST needs a token, and no message contains the token", () => {
  const inspector = { port: 3_001, host: "0.0.0.0", token: TOKEN };
  for (const mode of ["dev", "start"] as const) {
    expect(configOf({ INSPECTOR_HOST: "0.0.0.0", INSPECTOR_TOKEN: TOKEN }, mode).inspector).toEqual(inspector);
    expect(problemsOf({ INSPECTOR_HOST: "0.0.0.0" }, mode)).toMatchObject([{ name: "INSPECTOR_HOST" }]);
    expect(describeProblems(problemsOf({ INSPECTOR_TOKEN: "hunter2" }, mode))).not.toContain("hunter2");
  }
});

test("every setting except directories and HOST has an invalid value in these tests", () => {
  const free = ["HOST", "HANDLERS_DIR", "DATA_DIR"];
  const tested = new Set([NAME, ...free, ...invalid.map(([name]) => name)]);
  expect([...tested].toSorted()).toEqual(settings.map(({ name }) => name).toSorted());
});

test("all problems are reported together, in the order of the table", () => {
  const env = { [NAME]: "", PORT: "x", WEBHOOK_PATH: "x", CONCURRENCY: "x", LOG_LEVEL: "x", CLERK_SECRET_KEY: "x" };
  const problems = problemsOf(env);
  expect(problems.map(({ name }) => name)).toEqual([
    NAME,
    "CLERK_SECRET_KEY",
    "PORT",
    "WEBHOOK_PATH",
    "CONCURRENCY",
    "LOG_LEVEL",
  ]);
  const text = describeProblems(problems);
  expect(text).toStartWith("Bellhop can't start: 6 settings need a look.");
  for (const { name, message, example } of problems) {
    expect(text).toContain(`${name} ${message}`);
    expect(text).toContain(example);
  }
  expect(describeProblems(problems.slice(0, 1))).toStartWith("Bellhop can't start: one setting needs a look.");
});

describe("the signing secret", () => {
  const bare = SECRET.slice("whsec_".length);

  test("is accepted without its prefix, without its padding and with white space around it", () => {
    for (const text of [SECRET, bare, SECRET.replace(/=+$/, ""), `  ${SECRET}\n`])
      expect(configOf({ [NAME]: text }).secrets).toEqual([KEY]);
  });

  test("may be a list, while secrets are rotated", () => {
    const other = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;
    expect(configOf({ [NAME]: `${SECRET}, ${other}` }).secrets).toEqual([KEY, Buffer.alloc(32, 7)]);
  });

  test.each<[description: string, text: string | undefined, message: string]>([
    ["missing", undefined, "is not set"],
    ["empty", "", "is not set"],
    ["blank", "  ", "is not set"],
    ["in quotes", `"${SECRET}"`, "quotes"],
    ["in one quote", `'${SECRET}`, "quotes"],
    ["an API key", "sk_test_dGhpcyBpcyBhIHNlY3JldCBmb3IgdGVzdHM", "begins with sk_test_, so it is an API key"],
    ["a publishable key", "pk_live_dGhpcyBpcyBhIHNlY3JldCBmb3IgdGVzdHM", "begins with pk_live_"],
    ["only the prefix", "whsec_", "is empty"],
    ["not base64", "whsec_…", "base64"],
    ["cut in the middle", SECRET.slice(0, 20), "has only 10 bytes"],
    ["a byte short", `whsec_${Buffer.alloc(23, 1).toString("base64")}`, "has only 23 bytes"],
    ["a plain text", "secret", "bytes"],
    ["a list with an empty one", `${SECRET},whsec_`, "is empty"],
    ["a list with a short one", `${SECRET},whsec_c2hvcnQ=`, "has only 5 bytes"],
    ["followed by a comma", `${SECRET},`, "has a comma without a secret on both of its sides"],
    ["preceded by a comma", `,${SECRET}`, "has a comma without a secret on both of its sides"],
  ])("is rejected in dev and in start when it is %s", (_, text, message) => {
    for (const mode of ["dev", "start"] as const)
      expect(problemsOf({ [NAME]: text }, mode)).toEqual([
        { name: NAME, message: expect.stringContaining(message), example: expect.stringContaining(`${NAME}=whsec_`) },
      ]);
  });

  test("may have 24 bytes, as Svix's have", () => {
    expect(configOf({ [NAME]: `whsec_${Buffer.alloc(24, 1).toString("base64")}` }).secrets).toHaveLength(1);
  });

  test("made by bun dev is marked in dev and rejected in start", () => {
    const devSecret = makeDevSecret();
    expect(configOf({ [NAME]: devSecret }, "dev")).toMatchObject({ isDevSecret: true, secrets: [expect.any(Buffer)] });
    const bareDevSecret = devSecret.slice("whsec_".length);
    for (const text of [devSecret, `${SECRET},${devSecret}`, ` ${devSecret} `, bareDevSecret])
      expect(problemsOf({ [NAME]: text }, "start")).toEqual([
        { name: NAME, message: expect.stringContaining("was made for development"), example: expect.any(String) },
      ]);
    expect(makeDevSecret()).not.toBe(devSecret);
  });

  test("is read from CLERK_WEBHOOK_SECRET when the other variable is not set, and problems name that variable", () => {
    expect(configOf({ [NAME]: undefined, CLERK_WEBHOOK_SECRET: SECRET }).secrets).toEqual([KEY]);
    expect(configOf({ [NAME]: " ", CLERK_WEBHOOK_SECRET: SECRET }).secrets).toEqual([KEY]);
    expect(configOf({ [NAME]: SECRET, CLERK_WEBHOOK_SECRET: "nonsense" }).secrets).toEqual([KEY]);
    expect(problemsOf({ [NAME]: "", CLERK_WEBHOOK_SECRET: "whsec_" })).toMatchObject([
      { name: "CLERK_WEBHOOK_SECRET" },
    ]);
  });

  test("is shown by its first characters only", () => {
    expect(configOf().secretHint).toBe("whsec_dGhp…");
    expect(configOf({ [NAME]: bare }).secretHint).toBe("dGhp…");
    expect(configOf({ [NAME]: `${SECRET},${SECRET}` }).secretHint).toBe("whsec_dGhp…");
  });
});

test("no message contains a secret, whatever variable it was pasted into", () => {
  const code = "dGhpc0lzQVNlY3JldEZvclRlc3RzT25seQ";
  const pasted = [
    `whsec_${code}`,
    `"whsec_${code}"`,
    `whsec_${code}!`,
    `sk_live_${code}`,
    `sk_test_${code}`,
    `x whsec_${code}`,
    `/whsec_${code}?`,
    `postgres://admin:${code}@db.example/app`,
    code,
    // A password without a recognisable format.
    "correct-horse-battery",
  ];
  const names = [...settings.map(({ name }) => name), "CLERK_WEBHOOK_SECRET"];
  fc.assert(
    fc.property(
      fc.dictionary(fc.constantFrom(...names), fc.constantFrom(...pasted, "", "x", "7")),
      fc.constantFrom<Mode>("dev", "start"),
      (env, mode) => {
        const read = readConfig(env, mode);
        const text = "problems" in read ? describeProblems(read.problems) : read.config.secretHint;
        expect(text).not.toContain(code.slice(0, 8));
        expect(text).not.toContain("horse");
      },
    ),
    { numRuns: 2_000 },
  );
});

test.each([
  "hunter2",
  "correct horse battery staple",
  "postgres://app:hunter2@db/app",
  "https://u:hunter2@x.com",
  "S3cr3t!",
])("a password in the wrong variable is not repeated: %s", (password) => {
  for (const { name } of settings) {
    const read = readConfig({ [NAME]: SECRET, [name]: password }, "dev");
    if ("problems" in read) expect(describeProblems(read.problems), name).not.toContain(password);
  }
  const [problem] = problemsOf({ PORT: password });
  expect(problem?.message).toStartWith(`is a text of ${password.length} characters, expected a whole number`);
});

test("readConfig is pure", () => {
  const env = Object.freeze({ [NAME]: SECRET, PORT: "1234" });
  expect(readConfig(env, "start")).toEqual(readConfig(env, "start"));
});

test("a variable that is nearly named like an unset setting is reported, and no other one", () => {
  expect(misspelledSettings({ WEBHOOK_PAHT: "/x", CLERK_WEBHOOK_SECRTE: "x", DATABASE_URI: "x" })).toEqual([
    "WEBHOOK_PAHT is not a setting of Bellhop, and is ignored; did you mean WEBHOOK_PATH?",
    "CLERK_WEBHOOK_SECRTE is not a setting of Bellhop, and is ignored; did you mean CLERK_WEBHOOK_SECRET?",
    "DATABASE_URI is not a setting of Bellhop, and is ignored; did you mean DATABASE_URL?",
  ]);
  const usual = { PATH: "", HOME: "", HOSTS: "", PORTS: "", PWD: "", NODE_ENV: "", LOGNAME: "", PGPORT: "", DATA: "" };
  expect(misspelledSettings({ ...usual, DATABASE_URI: "x", DATABASE_URL: "postgres://" })).toEqual([]);
});
