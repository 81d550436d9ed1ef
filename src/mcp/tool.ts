// The shape of a tool, and how tools query the API. Tools have no other access to the server.

import type { Static, TObject } from "@sinclair/typebox";

export interface Tool<Input extends TObject = TObject> {
  name: string;
  description: string;
  input: Input;
  /** Changes something, here or elsewhere: refused without MCP_WRITE=1. */
  isWrite: boolean;
  /** Returns text for the agent. A `ToolError` becomes its message. */
  call(args: Static<Input>): Promise<string>;
}

/** An error whose message is for the agent. */
export class ToolError extends Error {}

export interface AskOptions {
  query?: Readonly<Record<string, string | number | boolean | undefined>>;
  method?: "GET" | "POST";
  body?: unknown;
}

/** Queries the API. Throws a `ToolError` for an answer that is not successful. */
export type Ask = <T>(path: string, options?: AskOptions) => Promise<T>;

const MESSAGES: Record<string, string> = {
  not_found: "No such delivery is stored here.",
  wiped: "Its payload is deleted, so it can't run again.",
  no_handler: "No current handler takes it, or none of them is dead.",
  unknown_handler: "Unknown handler; list_handlers has the names.",
  not_loaded: "The handler's file does not load; list_handlers has the reason.",
  unavailable: "The database of the inbox can't be reached now.",
};

/** `fetch`: the API of this process. */
export function createAsk(fetch: (request: Request) => Response | Promise<Response>): Ask {
  return async <T>(path: string, { query = {}, method = "GET", body }: AskOptions = {}) => {
    const url = new URL(`http://inspector.invalid/api${path}`);
    for (const [name, value] of Object.entries(query))
      if (value !== undefined) url.searchParams.set(name, String(value));
    const response = await fetch(
      new Request(url.href, {
        method,
        ...(body !== undefined && { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
      }),
    );
    const answer = (await response.json()) as T & { error?: string; message?: string };
    if (response.ok) return answer;
    throw new ToolError(answer.message ?? MESSAGES[answer.error ?? ""] ?? `the server answered ${response.status}`);
  };
}

/** Fixes the types of a tool's arguments. */
export function defineTool<Input extends TObject>(tool: Tool<Input>): Tool {
  return tool;
}
