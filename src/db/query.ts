// One query of a handler: lazy like Bun's own, so that it can be part of another query, or run when it is awaited.

import type { SQL } from "bun";

type Query = SQL.Query<any>;
type Shape = "raw" | "simple" | "values";

export interface QueryParts {
  build: (sql: SQL) => Query;
  /** To be read, with the values filled in. */
  text: () => string;
  /** Without the values that are bound. */
  plain: string;
}

/** The transaction that a query belongs to. */
interface Owner {
  run(query: RunQuery): Promise<unknown>;
  /** The query needs no `await` of its own. */
  used(query: RunQuery): void;
}

/** Looks like `Bun.SQL.Query`: it runs when it is awaited, and is a fragment when it is nested in another query. */
export class RunQuery implements PromiseLike<unknown> {
  #shapes: Shape[] = [];
  #result: Promise<unknown> | undefined;
  #cancelled = false;
  // The driver's stack ends inside Bun and lacks the handler's line. `captureStackTrace` would also write the text at once.
  #from = new Error();

  constructor(
    readonly parts: QueryParts,
    private readonly owner: Owner,
  ) {}

  // oxlint-disable-next-line unicorn/no-thenable -- awaiting a query runs it, as with Bun's own
  then<A, B>(ok?: ((value: any) => A | PromiseLike<A>) | null, fail?: ((error: any) => B | PromiseLike<B>) | null) {
    return this.#start().then(ok, fail);
  }

  catch<B>(fail?: ((error: any) => B | PromiseLike<B>) | null) {
    return this.#start().catch(fail);
  }

  finally(then?: (() => void) | null) {
    return this.#start().finally(then);
  }

  execute(): this {
    // The caller does not wait for the result; a failure dooms the transaction.
    this.#start().catch(() => undefined);
    return this;
  }

  raw = () => this.#as("raw");
  simple = () => this.#as("simple");
  values = () => this.#as("values");

  cancel(): this {
    this.#cancelled = true;
    this.owner.used(this);
    return this;
  }

  get cancelled() {
    return this.#cancelled;
  }

  get active() {
    return this.#result !== undefined;
  }

  /** As a part of another query, which runs it. */
  asFragment(root: SQL): Query {
    this.owner.used(this);
    return this.parts.build(root);
  }

  /** Runs the query on a transaction. */
  on(tx: SQL): Query {
    const query = this.parts.build(tx);
    for (const shape of this.#shapes) void query[shape]();
    return query;
  }

  /** Gives the error the stack of the place where the query was made. */
  explain(error: unknown): unknown {
    const frames = this.#from.stack
      ?.split("\n")
      .filter((line) => /^\s+at /.test(line) && !line.includes(import.meta.dir));
    if (error instanceof Error && frames?.length)
      error.stack = [`${error.name}: ${error.message}`, ...frames].join("\n");
    return error;
  }

  #start(): Promise<unknown> {
    if (this.#cancelled) return Promise.reject(new Error("the query was cancelled"));
    return (this.#result ??= this.owner.run(this));
  }

  #as(shape: Shape): this {
    this.#shapes.push(shape);
    return this;
  }
}

/** A query with its values filled in, to be read. */
export function describeQuery(strings: readonly string[], values: readonly unknown[]): string {
  const parts = strings.map((string, index) =>
    index < values.length ? string + describeValue(values[index]) : string,
  );
  return parts.join("").replaceAll(/\s+/g, " ").trim();
}

/** A query for a log: values that are part of the text are left out. */
export function withoutLiterals(text: string): string {
  return text
    .replaceAll(/'[^']*'/g, "'…'")
    .replaceAll(/\s+/g, " ")
    .trim();
}

function describeValue(value: unknown): string {
  if (value instanceof RunQuery) return value.parts.text();
  if (typeof value === "string") return `'${value.length > 80 ? `${value.slice(0, 80)}…` : value}'`;
  if (typeof value === "object" && value !== null && "columns" in value && "value" in value)
    return `(${Bun.inspect(value.value)})`;
  return Bun.inspect(value);
}

const MAX_CHECKED = 10_000;
const MAY_CONTROL = /\b(?:begin|commit|rollback|end|abort|savepoint|release|transaction)\b/i;
const CONTROLS =
  /^\s*(?:(?:begin|commit|rollback|abort|savepoint|release|(?:start|prepare|set)\s+transaction)\b|end(?:\s+(?:work|transaction))?\s*$)/i;

// The body of a trigger or a function is a list of statements between `begin` and `end`.
const HAS_BODY = /\bcreate\s+(?:\w+\s+){0,3}trigger\b|\bbegin\s+atomic\b/i;

/**
 * Whether a text begins, ends or divides a transaction. A heuristic for an early error: it does not parse all SQL, and
 * the database decides at the end.
 */
export function controlsTransaction(text: string): boolean {
  // The pattern below may take very long on a long text, and such a text is data.
  if (text.length > MAX_CHECKED || !MAY_CONTROL.test(text)) return false;
  const bare = text.replaceAll(/--[^\n]*|\/\*[\s\S]*?\*\/|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\w*)\$[\s\S]*?\$\1\$/g, " ");
  if (HAS_BODY.test(bare)) return false;
  return bare.split(";").some((statement) => CONTROLS.test(statement));
}
