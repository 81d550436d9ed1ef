// Applies the SQL files of `handlers/`: each of `_migrations/` once, in the order of their names, then `_schema.sql`.
// The database decides whether a file ends its transaction, never a parser. Errors name file and line.

import type { TransactionSQL } from "bun";

import { messageOf } from "../errors.ts";
import type { MakeTables } from "../index.ts";
import { isOutage } from "./outage.ts";
import type { AppDatabase } from "./transaction.ts";

/** An SQL file, named by its path in the folder of handlers: `_migrations/0001_profiles.sql`. */
export interface SqlFile {
  name: string;
  text: string;
}

/** The parts that must be in the database before any run, in this order. */
export interface Schema {
  /** Creates the tables of handlers. Each function runs in its own transaction, at every start. */
  tables?: readonly MakeTables[] | undefined;
  /** Applied once each. */
  migrations?: readonly SqlFile[] | undefined;
  /** `_schema.sql`, applied at every start. */
  text?: string | undefined;
}

/** One part of the schema that was applied, or that failed and was rolled back. */
export interface SchemaStep {
  of: "tables" | "migration" | "schema";
  /** The file; empty for tables. */
  name: string;
  mistake?: unknown;
}

/** The message begins with the file and, where it is known, the line: `_schema.sql:3: near "creat": syntax error`. */
export class SchemaError extends Error {
  override name = "SchemaError";
}

type Target = Pick<AppDatabase, "script" | "outside"> & {
  /** Runs a transaction while no other server prepares the database. */
  begin(body: MakeTables): Promise<void>;
  /** As `begin`, for statements that wait for nothing. A connection that does not answer soon is closed. */
  beginOwn(body: MakeTables): Promise<void>;
};

const SCHEMA_FILE = "_schema.sql";

// Runs on SQLite and Postgres alike.
const CREATE_MIGRATIONS = `
  create table if not exists bellhop_migrations (
    name text primary key,
    checksum text not null,
    applied_at timestamptz not null default current_timestamp
  )`;

/**
 * Applies each part completely or not at all. A failed migration prevents all later parts from being applied.
 * Returns the first error; rejects when the database can't be reached.
 */
export async function applySchema(target: Target, schema: Schema, onStep: ((step: SchemaStep) => void) | undefined) {
  const { tables = [], migrations = [], text } = schema;
  let first: unknown;

  async function step(of: SchemaStep["of"], name: string, apply: () => Promise<boolean>): Promise<boolean> {
    try {
      if (await apply()) onStep?.({ of, name });
      return true;
    } catch (mistake) {
      // The file is not at fault, and is applied later.
      if (isOutage(mistake)) throw mistake;
      first ??= mistake;
      onStep?.({ of, name, mistake });
      return false;
    }
  }

  for (const makeTables of tables) await step("tables", "", () => target.begin(makeTables).then(() => true));
  const applied = migrations.length > 0 ? await readApplied(target) : new Map<string, string>();
  for (const file of migrations)
    if (!(await step("migration", file.name, () => applyOnce(target, file, applied.get(file.name))))) return first;
  if (text === undefined) return first;
  const apply = () => target.begin((tx) => target.script(tx, text));
  await step("schema", SCHEMA_FILE, () => withLine(target, { name: SCHEMA_FILE, text }, apply).then(() => true));
  return first;
}

/** The checksums of the migrations that were applied before, by name. */
async function readApplied(target: Target): Promise<Map<string, string>> {
  let rows: { name: string; checksum: string }[] = [];
  await target.beginOwn(async (tx) => {
    await tx.unsafe(CREATE_MIGRATIONS);
    rows = await tx`select name, checksum from bellhop_migrations`;
  });
  return new Map(rows.map(({ name, checksum }) => [name, checksum]));
}

/** False when it was applied before, perhaps by another server a moment ago. */
async function applyOnce(target: Target, file: SqlFile, known: string | undefined) {
  const { name, text } = file;
  // Git may change line endings.
  const checksum = new Bun.CryptoHasher("sha256").update(text.replaceAll("\r\n", "\n")).digest("hex");
  if (known !== undefined) return checkUnchanged(name, known, checksum);
  let isNew = true;
  const apply = (run: (tx: TransactionSQL) => Promise<unknown>) =>
    target.begin(async (tx) => {
      const [row] = (await tx`select checksum from bellhop_migrations where name = ${name}`) as { checksum: string }[];
      if (row) isNew = checkUnchanged(name, row.checksum, checksum);
      if (!isNew) return;
      await run(tx);
      await tx`insert into bellhop_migrations (name, checksum) values (${name}, ${checksum})`;
    });
  await withLine(target, file, () =>
    apply((tx) => target.script(tx, text)).catch((error: unknown) => {
      if (!needsNoTransaction(error)) throw error;
      // Such as `create index concurrently`. If the server dies before it is recorded, the file is applied again.
      return apply((tx) => target.outside(tx, text));
    }),
  );
  return isNew;
}

function checkUnchanged(name: string, applied: string, checksum: string): false {
  if (applied === checksum) return false;
  throw new SchemaError(
    `${name}: was changed after it had been applied, and is not applied again. Revert the change and put it into a new ` +
      `file; or, if the database already matches the file: delete from bellhop_migrations where name = '${name}'`,
  );
}

/** An error of the file names its line. */
async function withLine(target: Target, file: SqlFile, apply: () => Promise<void>) {
  try {
    await apply();
  } catch (error) {
    throw isOutage(error) || error instanceof SchemaError ? error : await locate(target, file, error);
  }
}

async function locate(target: Target, file: SqlFile, error: unknown): Promise<SchemaError> {
  const line = lineOf(file.text, error) ?? (await findLine(target, file.text, error));
  const hint =
    file.name === SCHEMA_FILE && /already exists|duplicate column/i.test(messageOf(error))
      ? "; the file is applied at every start: write `if not exists`, or put the change into a file of _migrations/"
      : "";
  const where = line === undefined ? file.name : `${file.name}:${line}`;
  return new SchemaError(`${where}: ${describe(error)}${hint}`, { cause: error });
}

/** The line of the error as reported by the database: SQLite counts bytes, Postgres characters. */
function lineOf(text: string, error: unknown): number | undefined {
  const { byteOffset, position, internalPosition, internalQuery } = error as Record<string, unknown>;
  if (typeof byteOffset === "number" && byteOffset >= 0)
    return lines(Buffer.from(text).subarray(0, byteOffset).toString());
  const characters = Number(internalQuery === text ? internalPosition : internalQuery === undefined ? position : 0);
  if (!(characters > 0)) return undefined;
  const before = Array.from(text).slice(0, characters - 1);
  return lines(before.join(""));
}

/**
 * Databases report no position for an error at run time. Applies the statements one by one, finds the one that fails
 * with the same message, and rolls everything back.
 */
async function findLine(target: Target, text: string, error: unknown): Promise<number | undefined> {
  let line: number | undefined;
  const search = target.begin(async (tx) => {
    for (const { start, end } of statementsOf(text))
      await target.script(tx, text.slice(start, end)).catch((found: unknown) => {
        if (messageOf(found) === messageOf(error))
          line = lines(text.slice(0, start) + /^\s*/.exec(text.slice(start))?.[0]);
        throw found;
      });
    throw new Error("rolled back");
  });
  await search.catch(() => undefined);
  return line;
}

/** Where each statement begins and ends. A heuristic for line numbers only: it does not parse all SQL. */
function statementsOf(text: string): { start: number; end: number }[] {
  const tokens = /--[^\n]*|\/\*[\s\S]*?\*\/|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\w*)\$[\s\S]*?\$\1\$|;/g;
  const ends = [...text.matchAll(tokens)].filter(([token]) => token === ";").map(({ index }) => index + 1);
  return [...ends, text.length]
    .map((end, index, all) => ({ start: all[index - 1] ?? 0, end }))
    .filter(({ start, end }) => text.slice(start, end).trim() !== "");
}

const lines = (text: string) => text.split("\n").length;

/** The statement can't run in a transaction: SQLSTATE `active_sql_transaction`. */
function needsNoTransaction(error: unknown): boolean {
  return (error as { errno?: unknown }).errno === "25001";
}

function describe(error: unknown): string {
  const message = messageOf(error);
  const { errno } = error as { errno?: unknown };
  if (errno === "25001") return `${message}: it must be the only statement of its file`;
  return /transaction commands|invalid transaction termination|transaction within a transaction|no transaction is active/.test(
    message,
  )
    ? `${message}: the file runs in one transaction; leave BEGIN and COMMIT out`
    : message;
}
