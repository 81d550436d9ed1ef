// Starts real servers that share an inbox on Postgres, for one test. Handlers find the name of their server in `NAME`.

import { SQL } from "bun";

import type { Environment } from "../../src/config.ts";
import { type Files, post, type SpawnedServer, spawnServer, temporaryFolder, writeHandlers } from "../harness.ts";
import type { Postgres } from "../postgres.ts";
import { observe, type Observer } from "./takeover.ts";

export interface SharedInbox extends AsyncDisposable {
  url: string;
  observer: Observer;
  /** Starts a server with these handlers, in a new folder. `env` wins. Few connections: many servers share Postgres. */
  start(name: string, files: Files, env?: Environment): Promise<SpawnedServer & { folder: string }>;
  /** The calls that handlers recorded with `write`, in order. */
  calls(): Promise<Call[]>;
}

export interface Call {
  delivery: string;
  name: string;
  attempt: number;
}

/** The start of a handler file that records its calls with `write(context)`. */
export const WRITE = `
  const NAME = process.env.NAME;
  const write = ({ db, delivery, run }) =>
    db\`insert into calls(delivery, name, attempt) values (\${delivery.id}, \${NAME}, \${run.attempt})\`;
`;
const SCHEMA = "create table if not exists calls(n serial, delivery text, name text, attempt integer);";

export async function sharedInbox(postgres: Postgres): Promise<SharedInbox> {
  await using stack = new AsyncDisposableStack();
  const url = await postgres.database();
  const observer = stack.use(observe(url));
  const sql = new SQL(url, { max: 1 });
  stack.defer(() => sql.close());
  const moved = stack.move();
  return {
    url,
    observer,
    async start(name, files, env) {
      const folder = moved.use(await temporaryFolder());
      await writeHandlers(folder.path, { ...files, "_schema.sql": SCHEMA });
      const server = await spawnServer(folder.path, {
        env: { INBOX_URL: url, NAME: name, CONCURRENCY: "3", ...env },
      });
      moved.use(server);
      return { ...server, folder: folder.path };
    },
    calls: async () => [...(await sql`select delivery, name, attempt from calls order by n`)],
    [Symbol.asyncDispose]: () => moved.disposeAsync(),
  };
}

/** Posts an event about a subject of its own. */
export function send(server: Pick<SpawnedServer, "url">, type: string, id: string): Promise<Response> {
  return post(server.url, { type, object: "event", data: { id: `of_${id}`, object: "user" } }, { id });
}

/** The status of /health; undefined while it does not answer. */
export async function health({ url }: Pick<SpawnedServer, "url">): Promise<number | undefined> {
  const response = await fetch(new URL("/health", url)).catch(() => undefined);
  await response?.body?.cancel();
  return response?.status;
}
