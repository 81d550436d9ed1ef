// What the commands ask a running server, over a Unix socket that only its user can open.
// JSON under /api; the inspector's page will stand on the same routes.

import { chmodSync, existsSync, rmSync } from "node:fs";
import { join, relative } from "node:path";

import { Elysia, t } from "elysia";

import type { DeliveryView, Inbox, NewRun } from "../inbox/inbox.ts";

export interface ApiOptions {
  inbox: Pick<Inbox, "get" | "replay">;
  match: (type: string) => NewRun[];
}

/** A delivery as JSON has it: without its payload, which is shown on request only. */
export type DeliveryJson = Omit<DeliveryView, "body" | "headers">;

// sockaddr_un holds 108 bytes on Linux and 104 on macOS, the final zero among them.
const LONGEST_SOCKET_PATH = 103;

/** The socket's path, as short as it can be told from here; undefined when no path is short enough. */
export function socketPath(dataDir: string): string | undefined {
  const path = join(dataDir, "bellhop.sock");
  const shortest = [path, relative(process.cwd(), path)].toSorted((a, b) => a.length - b.length)[0] ?? path;
  return Buffer.byteLength(shortest) <= LONGEST_SOCKET_PATH ? shortest : undefined;
}

export function createApi({ inbox, match }: ApiOptions) {
  return new Elysia({ prefix: "/api" })
    .get("/server", () => ({ pid: process.pid }))
    .get(
      "/deliveries/:id",
      async ({ params, status }) => {
        const found = await inbox.get(params.id);
        return found ? toJson(found) : status(404, { error: "not_found" });
      },
      { params: t.Object({ id: t.String() }) },
    )
    .post(
      "/deliveries/:id/replay",
      async ({ params, query, status }) => {
        const found = await inbox.get(params.id);
        if (!found) return status(404, { error: "not_found" });
        if (found.body === null) return status(409, { error: "wiped" });
        const runs = match(found.type).filter(({ handler }) => !query.handler || handler === query.handler);
        if (runs.length === 0) return status(409, { error: "no_handler" });
        const replay = crypto.randomUUID();
        await inbox.replay(params.id, replay, runs);
        return { replay, handlers: runs.map(({ handler }) => handler) };
      },
      { params: t.Object({ id: t.String() }), query: t.Object({ handler: t.Optional(t.String()) }) },
    );
}

/** Serves the API on `DATA_DIR/bellhop.sock`. The caller holds the folder's lock, so what lies there is a leftover. */
export function serveSocket(path: string, options: ApiOptions): { stop(): Promise<void> } {
  if (existsSync(path)) rmSync(path);
  const api = createApi(options);
  const server = Bun.serve({ unix: path, fetch: (request) => api.fetch(request) });
  chmodSync(path, 0o600);
  return {
    async stop() {
      await server.stop(true);
      rmSync(path, { force: true });
    },
  };
}

function toJson({ body: _body, headers: _headers, ...delivery }: DeliveryView): DeliveryJson {
  return delivery;
}
