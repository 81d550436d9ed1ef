// Describes where a payload differs from Clerk's specification, for the log in dev. It never refuses a delivery.
// Messages never contain payload text, except a bare word where the specification has an enum.

import type { TSchema } from "@sinclair/typebox";
import { type TypeCheck, TypeCompiler } from "@sinclair/typebox/compiler";
import { type ValueError, ValueErrorType } from "@sinclair/typebox/errors";

import { dataSchemas } from "./generated/schemas.ts";

export interface Mismatch {
  /** `data.email_addresses[0].id` */
  path: string;
  /** `expected string, got null` */
  message: string;
}

// Enough to find the cause. Without a limit, an array of 10,000 unexpected members would give 10,000 mismatches.
const MAX_MISMATCHES = 20;

/** Where `data` differs from the specification of this event type; empty for types that Clerk does not specify. */
export function describeMismatch(type: string, data: unknown): Mismatch[] {
  const check = compiled(type);
  return check ? mismatches(check, data) : [];
}

/** Where `data` differs from a compiled schema, at most 20 places. */
export function mismatches(check: TypeCheck<TSchema>, data: unknown): Mismatch[] {
  if (check.Check(data)) return [];
  const byPath = new Map<string, Mismatch>();
  for (const { path, schema, value } of innermost(check.Errors(data))) {
    const dataPath = `data${path.replaceAll(/\/(\d+)(?=\/|$)/g, "[$1]").replaceAll("/", ".")}`;
    // TypeBox reports a missing property twice: as missing and as having the wrong type.
    if (!byPath.has(dataPath)) byPath.set(dataPath, { path: dataPath, message: describe(schema, value) });
    if (byPath.size === MAX_MISMATCHES) break;
  }
  return [...byPath.values()];
}

/**
 * Returns a function that checks payloads and reports each difference once, so that a change at Clerk is one log line
 * instead of one per delivery. Array indices are left out of the key, so the schemas bound its memory.
 */
export function createPayloadCheck(report: (line: string) => void): (type: string, data: unknown) => void {
  const reported = new Set<string>();
  return (type, data) => {
    for (const { path, message } of describeMismatch(type, data)) {
      const key = `${type}: ${path.replaceAll(/\[\d+\]/g, "[]")}`;
      if (reported.has(key)) continue;
      reported.add(key);
      report(`${key}: ${message} (differs from Clerk's specification; the event is delivered anyway)`);
    }
  };
}

const checks = new Map<string, TypeCheck<TSchema>>();

function compiled(type: string): TypeCheck<TSchema> | undefined {
  // The type comes from a request: "constructor" is a property of every object.
  const schema = Object.hasOwn(dataSchemas, type) ? dataSchemas[type] : undefined;
  if (!schema) return undefined;
  let check = checks.get(type);
  if (!check) checks.set(type, (check = TypeCompiler.Compile(schema)));
  return check;
}

/** The most specific errors. For a union these are the errors of the nearest alternative, not that the union failed. */
function* innermost(errors: Iterable<ValueError>): Generator<ValueError> {
  for (const error of errors) {
    // An intersection repeats the errors of its parts.
    if (error.type === ValueErrorType.Intersect) continue;
    const nested = error.type === ValueErrorType.Union ? nearest(error) : [];
    if (nested.length > 0) yield* nested;
    else yield error;
  }
}

function nearest(error: ValueError): ValueError[] {
  const alternatives = error.errors
    .map((errors) => [...innermost(errors)])
    // An alternative that fails at the union's own path is of another type altogether.
    .filter((errors) => errors.every(({ path }) => path !== error.path));
  return alternatives.toSorted((a, b) => a.length - b.length)[0] ?? [];
}

function describe(schema: TSchema, value: unknown): string {
  const type = expected(schema);
  // A new value of an enum is the most common change. Anything but a bare word might be a person's name or a code.
  const isWord = type.startsWith('"') && typeof value === "string" && /^[a-z_]{1,32}$/i.test(value);
  return `expected ${type}, got ${isWord ? JSON.stringify(value) : typeName(value)}`;
}

function expected(schema: TSchema): string {
  if (Array.isArray(schema["anyOf"])) return [...new Set((schema["anyOf"] as TSchema[]).map(expected))].join(" or ");
  if ("const" in schema) return JSON.stringify(schema["const"]);
  return String(schema["type"] ?? "a value");
}

function typeName(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}
