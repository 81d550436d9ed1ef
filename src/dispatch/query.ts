// One query of a handler: lazy like Bun's own, so that it can be a fragment of another, or run when it is awaited.

import type { SQL } from "bun";

type Query = SQL.Query<any>;
type Build = (sql: SQL) => Query;
type Shape = "raw" | "simple" | "values";

/** Looks like `Bun.SQL.Query`: awaited, it runs; nested in another, it is text. */
export class RunQuery implements PromiseLike<unknown> {
  #shapes: Shape[] = [];
  #result: Promise<unknown> | undefined;
  #cancelled = false;
  #from: { stack?: string } = {};

  constructor(
    readonly build: Build,
    private readonly run: (query: RunQuery) => Promise<unknown>,
    /** As a person would read it, with its values. */
    readonly text: () => string,
    private readonly used: (query: RunQuery) => void,
  ) {
    // The driver's own stack ends inside of Bun: it does not know the line of the handler.
    Error.captureStackTrace(this.#from, RunQuery);
  }

  // oxlint-disable-next-line unicorn/no-thenable -- awaiting it is what runs it, as with Bun's own
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
    // Who only starts a query does not hear of its failure; the run does.
    this.#start().catch(() => undefined);
    return this;
  }

  raw = () => this.#as("raw");
  simple = () => this.#as("simple");
  values = () => this.#as("values");

  cancel(): this {
    this.#cancelled = true;
    this.used(this);
    return this;
  }

  get cancelled() {
    return this.#cancelled;
  }

  get active() {
    return this.#result !== undefined;
  }

  /** It is part of another query, which runs it. */
  nested() {
    this.used(this);
  }

  asFragment(root: SQL): Query {
    this.used(this);
    return this.build(root);
  }

  /** Runs it on a transaction. */
  on(tx: SQL): Query {
    const query = this.build(tx);
    for (const shape of this.#shapes) void query[shape]();
    return query;
  }

  /** The error with the lines of the handler, where the query was made. */
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
    return (this.#result ??= this.run(this));
  }

  #as(shape: Shape): this {
    this.#shapes.push(shape);
    return this;
  }
}

/** A query with its values in it, for reading. */
export function describeQuery(strings: readonly string[], values: readonly unknown[]): string {
  const parts = strings.map((string, index) =>
    index < values.length ? string + describeValue(values[index]) : string,
  );
  return parts.join("").replaceAll(/\s+/g, " ").trim();
}

function describeValue(value: unknown): string {
  if (value instanceof RunQuery) return value.text();
  if (typeof value === "string") return `'${value.length > 80 ? `${value.slice(0, 80)}…` : value}'`;
  if (typeof value === "object" && value !== null && "columns" in value && "value" in value)
    return `(${Bun.inspect(value.value)})`;
  return Bun.inspect(value);
}

const QUICK = /\b(?:begin|commit|rollback|end|abort|savepoint|release|transaction)\b/i;
const ENDS =
  /^\s*(?:(?:begin|commit|rollback|abort|savepoint|release|(?:start|prepare|set)\s+transaction)\b|end(?:\s+(?:work|transaction))?\s*$)/i;

/** Whether a text begins, ends or divides a transaction: through `db` that would commit half of a run. */
export function endsTransaction(text: string): boolean {
  if (!QUICK.test(text)) return false;
  const bare = text.replaceAll(/--[^\n]*|\/\*[\s\S]*?\*\/|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\w*)\$[\s\S]*?\$\1\$/g, " ");
  // The body of a trigger is statements between `begin` and `end`.
  if (/^\s*create\s+(?:temp\w*\s+)?trigger\b/i.test(bare)) return false;
  return bare.split(";").some((statement) => ENDS.test(statement));
}
