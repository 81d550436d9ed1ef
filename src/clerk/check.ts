// Says where a payload differs from Clerk's specification. For people, in dev: it never refuses a delivery,
// and of what a payload holds its messages show single words at most, where Clerk has a fixed list of words.

import type { TSchema } from "@sinclair/typebox";
import { type TypeCheck, TypeCompiler } from "@sinclair/typebox/compiler";
import { type ValueError, ValueErrorType } from "@sinclair/typebox/errors";

import { dataSchemas } from "./schemas.ts";

export interface Mismatch {
  /** `data.email_addresses[0].id` */
  path: string;
  /** `expected string, got null` */
  message: string;
}

// Enough to see what is going on; an array of 10,000 strange members would give 10,000.
const MOST_MISMATCHES = 20;

/** Where `data` differs from what Clerk specifies for this type of event; empty for types that it does not specify. */
export function describeMismatch(type: string, data: unknown): Mismatch[] {
  const check = compiled(type);
  return check ? mismatches(check, data) : [];
}

/** Where `data` differs from a compiled schema, at most twenty places. */
export function mismatches(check: TypeCheck<TSchema>, data: unknown): Mismatch[] {
  if (check.Check(data)) return [];
  const byPath = new Map<string, Mismatch>();
  for (const { path, schema, value } of innermost(check.Errors(data))) {
    const words = `data${path.replaceAll(/\/(\d+)(?=\/|$)/g, "[$1]").replaceAll("/", ".")}`;
    // A missing property is reported twice: as missing, and as not being of its type.
    if (!byPath.has(words)) byPath.set(words, { path: words, message: explain(schema, value) });
    if (byPath.size === MOST_MISMATCHES) break;
  }
  return [...byPath.values()];
}

/**
 * Watches payloads go by and reports each difference once in its life, so that a change at Clerk is one line and not
 * one line per delivery. What it remembers is bounded by the schemas, since indices don't count.
 */
export function createShapeWatch(report: (line: string) => void): (type: string, data: unknown) => void {
  const reported = new Set<string>();
  return (type, data) => {
    for (const { path, message } of describeMismatch(type, data)) {
      const place = `${type}: ${path.replaceAll(/\[\d+\]/g, "[]")}`;
      if (reported.has(place)) continue;
      reported.add(place);
      report(`${place}: ${message} (differs from Clerk's specification; delivered all the same)`);
    }
  };
}

const checks = new Map<string, TypeCheck<TSchema>>();

function compiled(type: string): TypeCheck<TSchema> | undefined {
  // Types come from outside: "constructor" is a property of every object.
  const schema = Object.hasOwn(dataSchemas, type) ? dataSchemas[type] : undefined;
  if (!schema) return undefined;
  let check = checks.get(type);
  if (!check) checks.set(type, (check = TypeCompiler.Compile(schema)));
  return check;
}

/** The errors that say most. A union fails as a whole; what helps is how the alternative that comes nearest fails. */
function* innermost(errors: Iterable<ValueError>): Generator<ValueError> {
  for (const error of errors) {
    // An intersection repeats, as a whole, what its parts have said.
    if (error.type === ValueErrorType.Intersect) continue;
    const inside = error.type === ValueErrorType.Union ? nearest(error) : [];
    if (inside.length > 0) yield* inside;
    else yield error;
  }
}

function nearest(error: ValueError): ValueError[] {
  const alternatives = error.errors
    .map((errors) => [...innermost(errors)])
    // An alternative that already fails where the union stands is of another kind altogether.
    .filter((errors) => errors.every(({ path }) => path !== error.path));
  return alternatives.toSorted((a, b) => a.length - b.length)[0] ?? [];
}

function explain(schema: TSchema, value: unknown): string {
  const wanted = expected(schema);
  // A new word in a fixed list is the commonest change. Anything but a bare word might be somebody's name or code.
  const word = wanted.startsWith('"') && typeof value === "string" && /^[a-z_]{1,32}$/i.test(value);
  return `expected ${wanted}, got ${word ? JSON.stringify(value) : kindOf(value)}`;
}

function expected(schema: TSchema): string {
  if (Array.isArray(schema["anyOf"])) return [...new Set((schema["anyOf"] as TSchema[]).map(expected))].join(" or ");
  if ("const" in schema) return JSON.stringify(schema["const"]);
  return String(schema["type"] ?? "a value");
}

function kindOf(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}
