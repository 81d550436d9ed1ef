// The executable of `bun run build` in an empty root: no Bun, no shell, no /dev; only the files of the dynamic loader, and
// the kernel's /proc, without which Bun aborts.

import { chown, copyFile, cp, mkdir, readdir } from "node:fs/promises";
import { dirname, join } from "node:path";

import { commands } from "../../src/cli/cli.ts";
import { startClerkApi } from "../clerk-api.ts";
import { SECRET, until } from "../harness.ts";
import { noPostgres, startPostgres } from "../postgres.ts";
import { ensure, idIn, type Proof, ROOT, run, start, type Started, statesOf, statusOf } from "./tools.ts";

const USER = 1000;
const TOKEN = "a-token-of-more-than-24-characters";
const WAIT_MS = 60_000;

type Settings = Record<string, string>;

interface Chroot {
  path: string;
  /** Runs a command, and returns its output. */
  bellhop(settings: Settings, ...args: string[]): Promise<string>;
  start(command: "dev" | "start", settings: Settings): Promise<Started>;
}

export const binary: Proof = {
  name: "the binary in an empty chroot",
  needs: { chroot: "coreutils", ldd: "libc-bin", mount: "mount", unshare: "util-linux" },
  async *prove(folder) {
    const built = join(folder, "bellhop");
    await run([process.execPath, "run", "build", "--outfile", built]);
    const chroot = await emptyRoot(join(folder, "root"), built);
    yield `the root has ${(await readdir(chroot.path)).toSorted().join(", ")}, and nothing else`;

    for (const name of Object.keys(commands)) await chroot.bellhop({}, name, "--help");
    yield `all ${Object.keys(commands).length} commands load`;
    ensure((await chroot.bellhop({}, "handlers", "--check")).includes("✓ _schema.sql"), "the handlers load");
    await chroot.bellhop({}, "new", "organization.created");
    yield "handlers --check loads the handlers and tries their SQL files, and new writes a handler";
    yield* server(chroot);
    yield* mirror(chroot);
    yield* dev(chroot);
    yield* postgres(chroot);
  },
};

async function* server(chroot: Chroot) {
  await using server = await chroot.start("start", {});
  ensure(
    (await statusOf(server.pid, "Uid")).every((id) => id === String(USER)),
    "the server is not root",
  );
  const id = idIn(await chroot.bellhop(server.env, "send", "user.created"));
  await untilStates(chroot, server.env, id, "done");
  yield "start stores an event, and its handler ends as done";
  await chroot.bellhop(server.env, "try", id);
  await chroot.bellhop(server.env, "replay", id);
  await untilStates(chroot, server.env, id, "done,done");
  yield "send, deliveries, try and replay work";

  const [, inspector = ""] = /the inspector is on (http:[^"\s]+)/.exec(server.output()) ?? [];
  const html = await (await fetch(inspector)).text();
  const [, script = ""] = /<script[^>]* src="([^"]+)"/.exec(html) ?? [];
  const { ok, headers } = await fetch(new URL(script, inspector));
  ensure(ok && headers.get("content-type")!.includes("javascript"), `the inspector has its script:\n${html}`);
  yield "the inspector's page is built in";

  // The watchdog's and the checkpoint's. Without them, the server works, but less well.
  await until("the worker threads", async () => (await threadsOf(server.pid, "Worker")) >= 2, WAIT_MS);
  yield "its worker threads run";

  await chroot.bellhop(server.env, "backup", "/other/backup");
  await stopsGracefully(server);
  yield "backup works, and SIGTERM ends the server with 0";
  const restored = { ...server.env, DATA_DIR: "/other/restored" };
  await chroot.bellhop(restored, "restore", "/other/backup");
  await untilStates(chroot, restored, id, "done,done");
  yield "restore puts the backup in place, and deliveries reads it while no server runs";
}

async function* mirror(chroot: Chroot) {
  await using clerk = await startClerkApi();
  clerk.fill(3);
  const settings = { CLERK_SECRET_KEY: clerk.secretKey, CLERK_API_URL: clerk.url, DATA_DIR: "/other/mirror" };
  await chroot.bellhop({}, "new", "mirror");
  const filled = await chroot.bellhop(settings, "backfill");
  ensure(/clerk_users +3 from Clerk/.test(filled), `backfill copies the users:\n${filled}`);
  await chroot.bellhop(settings, "drift");
  yield "new mirror, backfill and drift work";
}

async function* dev(chroot: Chroot) {
  await using server = await chroot.start("dev", { DATA_DIR: "/other/dev" });
  await Bun.write(join(chroot.path, "handlers/session.created.ts"), "export default () => undefined;\n");
  await until("the new handler", () => server.output().includes("session.created.ts"), WAIT_MS);
  await stopsGracefully(server);
  yield "dev loads a file that is added";
}

/** On the inbox of the first server, which has stopped. */
async function* postgres(chroot: Chroot) {
  if (noPostgres) {
    yield `not checked: move, and an inbox in Postgres: ${noPostgres}`;
    return;
  }
  await using database = await startPostgres();
  const url = await database.database();
  await chroot.bellhop({ CLERK_WEBHOOK_SIGNING_SECRET: SECRET }, "move", url);
  await using server = await chroot.start("start", { INBOX_URL: url });
  const settings = { ...server.env, INBOX_URL: url };
  const moved = JSON.parse(await chroot.bellhop(settings, "deliveries", "--json")) as { deliveries: unknown[] };
  ensure(moved.deliveries.length === 1, "the moved inbox has the delivery");
  const id = idIn(await chroot.bellhop(settings, "send", "user.created"));
  // The profile's handler and the mirror.
  await untilStates(chroot, settings, id, "done,done");
  await stopsGracefully(server);
  yield "move takes the inbox to Postgres, and start uses it there";
}

/** The executable, what its loader needs, and directories that the server's user may write to. */
async function emptyRoot(path: string, built: string): Promise<Chroot> {
  const libraries = [...(await run(["ldd", built])).matchAll(/(\/\S+) \(0x/g)].map(([, library = ""]) => library);
  for (const library of libraries) {
    await mkdir(join(path, dirname(library)), { recursive: true });
    await copyFile(library, join(path, library));
  }
  await copyFile(built, join(path, "bellhop"));
  await cp(join(ROOT, "handlers"), join(path, "handlers"), { recursive: true });
  for (const name of ["handlers", "data", "other", "proc"]) {
    await mkdir(join(path, name), { recursive: true });
    await chown(join(path, name), USER, USER);
  }
  const inside = (settings: Settings, args: string[]) => {
    const all = Object.entries({ INSPECTOR_PORT: "0", INSPECTOR_TOKEN: TOKEN, ...settings });
    const chroot = [Bun.which("chroot")!, `--userspec=${USER}:${USER}`, path, "/bellhop", ...args];
    // The mount ends with the process. `env -i` drops PATH, so that nothing of this machine is found.
    const enter = 'mount -t proc proc "$0/proc" && exec env -i "$@"';
    const variables = all.map(([name, value]) => `${name}=${value}`);
    return ["unshare", "--mount", "sh", "-c", enter, path, ...variables, ...chroot];
  };
  return {
    path,
    bellhop: (settings, ...args) => run(inside(settings, args)),
    start: (command, settings) => start((env) => inside({ ...env, ...settings }, [command])),
  };
}

async function untilStates(chroot: Chroot, settings: Settings, id: string, states: string) {
  const read = async () => statesOf(await chroot.bellhop(settings, "deliveries", "--json"), id)?.join() === states;
  await until(`the runs of ${id} to be ${states}`, read, WAIT_MS);
}

async function threadsOf(pid: number, name: string): Promise<number> {
  const threads = await readdir(`/proc/${pid}/task`);
  const names = await Promise.all(threads.map((thread) => Bun.file(`/proc/${pid}/task/${thread}/comm`).text()));
  return names.filter((text) => text.startsWith(name)).length;
}

async function stopsGracefully(server: Started) {
  ensure((await server.stop()) === 0, `SIGTERM ends it with 0:\n${server.output()}`);
}
