// The ways to a first event, as a new user goes them, and each framework in which Bellhop is mounted.

import { join, resolve } from "node:path";

import { freePort } from "../free-port.ts";
import { SECRET } from "../harness.ts";
import type { Machine } from "./machine.ts";

const ROOT = resolve(import.meta.dir, "../..");

export interface Packages {
  bellhop: string;
  create: string;
}

/** Goes one way in an empty directory. Resolves with the time, of `performance.now()`, at which an event was handled. */
export type Way = (machine: Machine, packages: Packages, cwd: string) => Promise<number>;

const SERVER = { developmentPackages: ["@types/bun@1.4.5"], build: "bun check server.ts", start: "bun server.ts" };

export const ways: Record<string, Way> = {
  async create(machine, { bellhop, create }, cwd) {
    await machine.run(`bunx --package ${create} create-bellhop my-webhooks --from ${bellhop}`, { cwd });
    const project = join(cwd, "my-webhooks");
    const handledAt = await serveAndSend(machine, { start: "bun dev", cwd: project });
    await machine.run("bun test && bun check", { cwd: project });
    return handledAt;
  },
  async add(machine, { bellhop }, cwd) {
    await Bun.write(join(cwd, "package.json"), JSON.stringify({ name: "shop", private: true }));
    await machine.run(`bun add ${bellhop} && bunx bellhop init`, { cwd });
    const handledAt = await serveAndSend(machine, {
      start: "bunx bellhop dev",
      cwd,
      // Its page is built from the installed package.
      async meanwhile(inspectorPort) {
        const script = await fetch(`http://127.0.0.1:${inspectorPort}/app.js`);
        if (!script.ok) throw new Error(`the inspector's script: ${script.status} ${await script.text()}`);
      },
    });
    const onNode = await machine.run(`node -e 'import("bellhop").then((bellhop) => bellhop.createBellhop())'`, {
      cwd,
      mayFail: true,
    });
    if (!onNode.includes("this process is not Bun")) throw new Error(`on Node.js: ${onNode}`);
    return handledAt;
  },
  async clone(machine, _packages, cwd) {
    for (const file of filesOfClone())
      if (await Bun.file(join(ROOT, file)).exists()) await Bun.write(join(cwd, file), Bun.file(join(ROOT, file)));
    await machine.run("bun install", { cwd });
    return await serveAndSend(machine, { start: "bun dev", send: "bun send user.created", cwd });
  },
  "mount: Bun.serve": mount({ folder: "bun", packages: [], ...SERVER }),
  "mount: Elysia": mount({ folder: "elysia", packages: ["elysia@1.4.30"], ...SERVER }),
  "mount: Hono": mount({ folder: "hono", packages: ["hono@4.13.19"], ...SERVER }),
  "mount: Next.js": mount({
    folder: "next",
    packages: ["next@16.4.6", "react@19.3.1", "react-dom@19.3.1"],
    developmentPackages: ["typescript@7.0.2", "@types/react@19.3.0", "@types/node@26.6.6", "@types/bun@1.4.5"],
    files: {
      "app/layout.tsx": "export default ({ children }) => <html><body>{children}</body></html>;\n",
    },
    build: "bun --bun next build",
    start: "bun --bun next start",
  }),
  "mount: TanStack Start": mount({
    folder: "tanstack",
    packages: ["@tanstack/react-start@1.169.5", "@tanstack/react-router@1.170.46", "react@19.3.1", "react-dom@19.3.1"],
    developmentPackages: ["vite@8.3.8"],
    files: {
      "vite.config.ts": `import { tanstackStart } from "@tanstack/react-start/plugin/vite";
        export default { plugins: [tanstackStart()] };\n`,
      "src/router.tsx": `import { createRouter } from "@tanstack/react-router";
        import { routeTree } from "./routeTree.gen";
        export const getRouter = () => createRouter({ routeTree });\n`,
      "src/routes/__root.tsx": `import { createRootRoute } from "@tanstack/react-router";
        export const Route = createRootRoute({ component: () => <html><body /></html> });\n`,
    },
    build: "bun --bun vite build",
    start: "bun server.ts",
  }),
};

/** The files of the repository, with changes that are not committed. */
function filesOfClone(): string[] {
  // The checkout may belong to another user, as in a container.
  const list = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"];
  const { success, stdout } = Bun.spawnSync(list, { cwd: ROOT });
  if (success) return stdout.toString().trim().split("\n");
  const all = [...new Bun.Glob("**/*").scanSync({ cwd: ROOT, dot: true })];
  return all.filter((file) => !/^(?:.*\/)?(?:node_modules|\.git|data|types|dist)\//.test(file));
}

interface App {
  /** The code blocks of docs/mount.md whose first line names a file in this folder. */
  folder: string;
  packages: string[];
  developmentPackages?: string[];
  /** The other files of such an application. */
  files?: Record<string, string>;
  build?: string;
  start: string;
}

function mount({ folder, packages, developmentPackages = [], files = {}, build, start }: App): Way {
  return async (machine, { bellhop }, cwd) => {
    await Bun.write(join(cwd, "package.json"), JSON.stringify({ name: "shop", private: true, type: "module" }));
    const blocks = await documentedFiles(folder);
    for (const [file, text] of Object.entries({ ...files, ...blocks })) await Bun.write(join(cwd, file), text);
    const development = developmentPackages.length > 0 ? ` && bun add --exact -d ${developmentPackages.join(" ")}` : "";
    await machine.run(`bun add --exact ${[bellhop, ...packages].join(" ")}${development} && bunx bellhop init`, {
      cwd,
    });
    if (build) await machine.run(build, { cwd });
    // As in production, so with a secret of Clerk's.
    const env = { NODE_ENV: "production", CLERK_WEBHOOK_SIGNING_SECRET: SECRET };
    return await serveAndSend(machine, { start, cwd, env });
  };
}

export async function documentedFiles(folder: string): Promise<Record<string, string>> {
  const page = await Bun.file(join(ROOT, "docs/mount.md")).text();
  const blocks = [...page.matchAll(/^```ts\n\/\/ (\S+)\n([\s\S]*?)^```/gm)];
  const files = blocks.filter(([, name = ""]) => name.startsWith(`${folder}/`));
  if (files.length === 0) throw new Error(`docs/mount.md has no file of ${folder}/`);
  return Object.fromEntries(files.map(([, name = "", text = ""]) => [name.slice(folder.length + 1), text]));
}

const DEADLINE_MS = 120_000;

interface Serving {
  cwd: string;
  start: string;
  send?: string;
  env?: Record<string, string>;
  /** Runs after an event was handled, before the server is stopped. */
  meanwhile?: (inspectorPort: number) => Promise<void>;
}

/** Starts a server, and sends events until `send` reports that a handler has finished. */
async function serveAndSend(
  machine: Machine,
  { cwd, start, send = "bunx bellhop send user.created", env: more = {}, meanwhile }: Serving,
): Promise<number> {
  const [port, inspectorPort] = [await freePort(), await freePort()];
  const env = { PORT: String(port), INSPECTOR_PORT: String(inspectorPort), ...more };
  await using server = machine.start(start, { cwd, env });
  const until = performance.now() + DEADLINE_MS;
  let answer = "";
  while (performance.now() < until && server.ended() === undefined) {
    answer = await machine.run(send, { cwd, env, mayFail: true });
    const handledAt = performance.now();
    if (/✓ user\.created done/.test(answer)) {
      await meanwhile?.(inspectorPort);
      return handledAt;
    }
    await Bun.sleep(100);
  }
  throw new Error(
    `no event was handled.\n\n${start}: ${server.ended() ?? "runs"}\n${server.output()}\n\n${send}\n${answer}`,
  );
}
