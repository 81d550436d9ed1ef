import { expect, test } from "bun:test";

import { positionsIn } from "../src/api/code-frame.ts";
import { redact } from "../src/api/redact-payload.ts";
import { errorSummary, readError } from "../src/failures/error-record.ts";
import { hasSecret, redactText } from "../src/redact.ts";
import { post, spawnServer, temporaryFolder, until, writeHandlers } from "./harness.ts";

const JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c2VyXzEifQ.c2lnbmF0dXJl";

test.each([
  [`Authorization: Bearer ${JWT}`, "Authorization: Bearer •••"],
  ["key sk_live_abcdefgh12345678, again sk_test_abcdefgh12345678", "key •••, again •••"],
  ["whsec_dGhpcyBpcyBhIHNlY3JldA== was used", "••• was used"],
  ["https://app.example/in?a=1&token=abc123&b=2", "https://app.example/in?a=1&token=•••&b=2"],
  ["connect to postgres://app:hunter2@db.example:5432/app", "connect to postgres://app:•••@db.example:5432/app"],
  [
    "Failed query: insert into users values ($1, $2)\nparams: ada@example.com,\n4242\n    at save (/app/handlers/a.ts:1:2)",
    "Failed query: insert into users values ($1, $2)\nparams: •••\n    at save (/app/handlers/a.ts:1:2)",
  ],
  [
    "Failed query: select\nparams: ada@example.com; caused by PostgresError: no (at handlers/a.ts:1:2)",
    "Failed query: select\nparams: •••; caused by PostgresError: no (at handlers/a.ts:1:2)",
  ],
])("%j is redacted", (text, redacted) => {
  expect(redactText(text)).toBe(redacted);
});

test.each([
  "connection to 127.0.0.1:5432 refused",
  "https://api.clerk.com/v1/users?limit=10",
  "handlers/user.created.ts:3:9",
  "user@example.com",
  "sk_test_ is too short",
  "params: of a function",
])("%j is not changed", (text) => {
  expect(redactText(text)).toBe(text);
});

// Each text took quadratic time in one of the patterns, or could.
const HOSTILE = [
  "eyJaaaaa-",
  "eyJaaaaa.",
  "sk_live_",
  "whsec_",
  "://a:",
  "://",
  "?token=",
  "&",
  "(",
  "/a:1",
  ":1:1",
  " ",
  "    at (/",
  "    at x\n",
  `    at ${" (/:1:1".repeat(130)}x\n`,
  "'",
  "Failed query: \nparams: ",
];

test.each(HOSTILE.map((piece) => [piece.slice(0, 30), piece] as const))(
  "a megabyte of %j takes linear time",
  (_, piece) => {
    const text = piece.repeat(Math.ceil(1_000_000 / piece.length));
    const json = JSON.stringify({ type: "user.created", data: { name: text, [text]: text } });
    const began = performance.now();
    redactText(text);
    hasSecret(text);
    redact(json);
    positionsIn(`Error: x\n    at ${text}`, "Error", "x");
    positionsIn(text, "Error", text.slice(0, 10_000));
    const thrown = () => Object.assign(new Error(text), { stack: `Error: ${text}` });
    errorSummary(readError(Object.assign(thrown(), { cause: thrown() })).error);
    // Tenths of a second; quadratic time would take minutes.
    expect(performance.now() - began).toBeLessThan(10_000);
  },
);

test("errors in the log contain no secrets and no query parameters, and a hostile stack blocks no request", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, {
    "user.created.ts": `import { NonRetriableError } from "bellhop";
export default ({ data }) => { throw new NonRetriableError("${JWT} " + "Failed query: insert\\nparams: " + data.first_name); }`,
    "user.updated.ts": "export default ({ data, db }) => { void db`insert into users values (${data.first_name})`; }",
    "user.deleted.ts": `export default () => { const error = new Error("/a:1".repeat(2_500)); error.stack = "/a:1".repeat(5_000); throw error; }`,
    "session.created.ts": `export default ({ data }) => { void Promise.reject(new Error("postgres://app:hunter2@db/app")); }`,
  });
  await using server = await spawnServer(folder.path);
  const first_name = "Zsófia-3141";
  for (const type of ["user.created", "user.updated", "user.deleted", "session.created"])
    expect((await post(server.url, { type, object: "event", data: { id: `of_${type}`, first_name } })).status).toBe(
      200,
    );
  const output = () => server.output();
  await until(
    "the log",
    () => ["is dead", "not awaited", "/a:1/a:1", "postgres://"].every((text) => output().includes(text)) || undefined,
  );
  expect(output()).not.toContain("Zsófia");
  expect(output()).not.toContain(JWT);
  expect(output()).not.toContain("hunter2");
  const began = performance.now();
  expect((await fetch(new URL("/health", server.url))).status).toBe(200);
  expect(performance.now() - began).toBeLessThan(1_000);
}, 20_000);
