// The fields of an event's `data`, to find misspelled ones. Never the fields of objects inside it.

import type { TSchema } from "@sinclair/typebox";

import type { KnownEventName } from "./events.ts";
import { dataSchemas } from "./generated/schemas.ts";
import { sample } from "./samples.ts";

/** Those that Clerk specifies, and those that it sends without a specification, as a sample has. */
export function fieldsOf(name: KnownEventName): string[] {
  const specified = fieldsOfSchema(dataSchemas[name]);
  return [...new Set([...specified, ...Object.keys(sample(name).data)])];
}

function fieldsOfSchema(schema: TSchema | undefined): string[] {
  const parts: TSchema[] = [...(schema?.["anyOf"] ?? []), ...(schema?.["allOf"] ?? [])];
  return [...Object.keys(schema?.["properties"] ?? {}), ...parts.flatMap(fieldsOfSchema)];
}
