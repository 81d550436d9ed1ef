// Reads JSON that a person wrote. Pure; the page uses it too.

import { messageOf } from "./errors.ts";

/** An object of JSON: not null, not an array. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Parses an object. Throws an error that continues the sentence `--data …`: `is not valid JSON: …`. */
export function parseObject(text: string): Record<string, unknown> {
  const value = parse(text);
  if (!isObject(value)) throw new SyntaxError('is JSON, but not an object like {"first_name":"Ada"}');
  return value;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SyntaxError(`is not valid JSON: ${messageOf(error)}`, { cause: error });
  }
}
