// The text of the files that `init` writes.

import envExample from "../../.env.example" with { type: "text" };
import { COMMAND } from "../command.ts";
import { handlerTemplate } from "./new.ts";

/** Where a project has no `.env.example`: every setting. Elsewhere, `SECRET_EXAMPLE` is added. */
export function environmentExample(): string {
  return envExample.replaceAll(/\bbun (?=\w+`)/g, `${COMMAND} `);
}

export const SECRET_EXAMPLE = ["CLERK_WEBHOOK_SIGNING_SECRET="];

/** The inbox, and secrets. */
export const IGNORED = ["node_modules/", "data/", ".env", ".env.local"];

const HANDLER_TEST = `import { expect, test } from "bun:test";

import { deliver } from "bellhop/test";

test("a new user is handled", async () => {
  const { runs } = await deliver("user.created", { first_name: "Ada" }, { handlers: import.meta.dir });
  expect(runs["user.created"]).toMatchObject({ state: "done" });
});
`;

export function handlerFiles(dir: string): Record<string, string> {
  return {
    [`${dir}/user.created.ts`]: handlerTemplate("user.created"),
    [`${dir}/user.created.test.ts`]: HANDLER_TEST,
  };
}

const TSCONFIG = `{
  "compilerOptions": {
    "lib": ["ESNext"],
    "target": "ESNext",
    "module": "Preserve",
    "moduleDetection": "force",
    "moduleResolution": "bundler",
    "allowImportingTsExtensions": true,
    "verbatimModuleSyntax": true,
    "noEmit": true,
    "strict": true,
    "skipLibCheck": true,
    "types": ["bun"]
  }
}
`;

/** For a project that is nothing but handlers. */
export function projectFiles(dir: string): Record<string, string> {
  return { "tsconfig.json": TSCONFIG, "compose.yaml": compose(dir), "AGENTS.md": agents(dir) };
}

/** A container reads the project's files, and writes to a volume. */
function compose(dir: string): string {
  return `# One server with its inbox in a volume: docker compose up
services:
  bellhop:
    image: oven/bun:${Bun.version}
    working_dir: /app
    # Its own packages, because some have binaries for one system.
    command: sh -c "bun install --production --frozen-lockfile && exec ${COMMAND} start"
    volumes:
      - ./package.json:/app/package.json:ro
      - ./bun.lock:/app/bun.lock:ro
      - ./${dir}:/app/${dir}:ro
      - data:/app/data
    environment:
      NODE_ENV: production
      # Clerk Dashboard, Webhooks, your endpoint, Signing Secret.
      CLERK_WEBHOOK_SIGNING_SECRET: \${CLERK_WEBHOOK_SIGNING_SECRET:?}
    ports: ["3000:3000"]
    # Longer than SHUTDOWN_SECONDS, so that runs may finish.
    stop_grace_period: 30s
    restart: always
volumes: { data: {} }
`;
}

function agents(dir: string): string {
  return `# For agents

Bellhop receives Clerk's webhooks and runs the files in \`${dir}/\`: \`${dir}/user.created.ts\` runs for each \`user.created\`.

- Write a handler: \`${COMMAND} new user.updated\`. Check that all load: \`${COMMAND} handlers --check\`.
- Test: \`bun test\`. \`deliver\` of \`bellhop/test\` runs an event through the real handlers, with a database of its own.
- Run: \`${COMMAND} dev\`, then \`${COMMAND} send user.created\`. What happened: \`${COMMAND} deliveries\`.
- Write to the database only through \`db\`: it is a transaction that is committed with the run, exactly once. Tables are in
  \`${dir}/_schema.sql\`.
- A handler that throws is retried. Effects outside of \`db\` may be repeated: pass \`run.idempotencyKey\` along.
- Events of one user run in order. Do not check signatures or duplicates yourself.
- Settings are in \`.env.example\`. Never commit \`.env\` or \`data/\`.
`;
}
