// The executable of `bun run build` in an empty root: no Bun, no shell, no /dev; only the files of the dynamic loader, and
// the kernel's /proc, without which Bun aborts.

import { chown, copyFile, cp, mkdir, readdir } from "node:fs/promises";
import { dirname, join } from "node:path";

import { startClerkApi } from "../clerk-api.ts";
import { until } from "../harness.ts";
import { noPostgres, startPostgres } from "../postgres.ts";
import { ensure, idIn, type Proof, ROOT, run, start, statesOf, statusOf } from "./tools.ts";

const USER = 1000;
const TOKEN = "a-token-of-more-than-24-characters";

export const binary: Proof = {
  name: "the binary in an empty chroot",
  needs: { chroot: "coreutils", ldd: "libc-bin", mount: "mount", unshare: "util-linux" },
  async *prove(folder) {
    const built = join(folder, "bellhop");
    await run([process.execPath, "run", "build", "--outfile", built]);
    const root = await emptyRoot(join(folder, "root"), built);
    yield `the root has ${(await readdir(root)).toSorted().join(", ")}, and nothing else`;

    const inRoot = (env: Record<string, string>, ...args: string[]) => {
      const settings = Object.entries({ INSPECTOR_PORT: "0", INSPECTOR_TOKEN: TOKEN, ...env });
      const variables = settings.map(([name, value]) => `${name}=${value}`);
      const chroot = [Bun.which("chroot")!, `--userspec=${USER}:${USER}`, root, "/bellhop", ...args];
      // The mount ends with the process. `env -i` drops PATH, so that nothing of this machine is found.
      const enter = 'mount -t proc proc "$0/proc" && exec env -i "$@"';
      return ["unshare", "--mount", "sh", "-c", enter, root, ...variables, ...chroot];
    };
    const bellhop = (env: Record<string, string>, ...args: string[]) => run(inRoot(env, ...args));

    ensure((await bellhop({}, "handlers", "--check")).includes("✓ _schema.sql"), "the handlers load");
    yield "handlers --check loads the handlers, and tries their SQL files";
    await bellhop({}, "new", "organization.created");
    yield "new writes a handler";

    await using server = await start((env) => inRoot(env, "start"));
    ensure(
      (await statusOf(server.pid, "Uid")).every((id) => id === String(USER)),
      "the server is not root",
    );
    const id = idIn(await bellhop(server.env, "send", "user.created"));
    const done = async (count: number) => {
      const states = statesOf(await bellhop(server.env, "deliveries", "--json"), id) ?? [];
      return states.length === count && states.every((state) => state === "done");
    };
    await until("a run that is done", () => done(1));
    yield "start stores an event, and its handler ends as done";
    await bellhop(server.env, "try", id);
    await bellhop(server.env, "replay", id);
    await until("a replay that is done", () => done(2));
    yield "send, deliveries, try and replay work";

    const [, inspector = ""] = /the inspector is on (http:[^"\s]+)/.exec(server.output()) ?? [];
    const html = await (await fetch(inspector)).text();
    const [, script = ""] = /<script[^>]* src="([^"]+)"/.exec(html) ?? [];
    const { ok, headers } = await fetch(new URL(script, inspector));
    ensure(ok && headers.get("content-type")!.includes("javascript"), `the inspector has its script:\n${html}`);
    yield "the inspector's page is built in";

    // Without its thread, a handler that blocks would not be named.
    const threads = await readdir(`/proc/${server.pid}/task`);
    const names = await Promise.all(threads.map((id) => Bun.file(`/proc/${server.pid}/task/${id}/comm`).text()));
    ensure(names.filter((name) => name.startsWith("Worker")).length >= 2, `the workers run: ${names.join()}`);
    yield "its worker threads run";

    await bellhop(server.env, "backup", "/work/backup");
    ensure((await server.stop()) === 0, `SIGTERM ends it with 0:\n${server.output()}`);
    yield "backup works, and SIGTERM ends the server with 0";
    const restored = { ...server.env, DATA_DIR: "/work/restored" };
    await bellhop(restored, "restore", "/work/backup");
    const json = await bellhop(restored, "deliveries", "--json");
    ensure(statesOf(json, id)?.length === 2, "the restored inbox has the delivery");
    yield "restore puts the backup in place, and deliveries reads it while no server runs";

    {
      await using clerk = await startClerkApi();
      clerk.fill(3);
      const settings = { CLERK_SECRET_KEY: clerk.secretKey, CLERK_API_URL: clerk.url, DATA_DIR: "/work/mirror" };
      await bellhop({}, "new", "mirror");
      const filled = await bellhop(settings, "backfill");
      ensure(/clerk_users +3 from Clerk/.test(filled), `backfill copies the users:\n${filled}`);
      await bellhop(settings, "drift");
    }
    yield "new mirror, backfill and drift work";

    {
      await using dev = await start((env) => inRoot({ ...env, DATA_DIR: "/work/dev" }, "dev"));
      await Bun.write(join(root, "handlers/session.created.ts"), "export default () => undefined;\n");
      await until("the new handler", () => dev.output().includes("session.created.ts"));
      await dev.stop();
    }
    yield "dev loads a file that is added";

    if (noPostgres) return yield `not checked: an inbox in Postgres: ${noPostgres}`;
    await using postgres = await startPostgres();
    const url = await postgres.database();
    await bellhop(server.env, "move", url);
    await using shared = await start((env) => inRoot({ ...env, INBOX_URL: url }, "start"));
    const inbox = { ...shared.env, INBOX_URL: url };
    const states = async (event: string) => statesOf(await bellhop(inbox, "deliveries", "--json"), event)?.join();
    ensure((await states(id)) === "done,done", "the moved inbox has the delivery");
    const later = idIn(await bellhop(inbox, "send", "user.created"));
    // The profile's handler and the mirror.
    await until("two runs that are done", async () => (await states(later)) === "done,done");
    ensure((await shared.stop()) === 0, `SIGTERM ends it with 0:\n${shared.output()}`);
    yield "move takes the inbox to Postgres, and start uses it there";
  },
};

/** The executable, what its loader needs, and directories that the server's user may write to. */
async function emptyRoot(root: string, built: string): Promise<string> {
  const libraries = [...(await run(["ldd", built])).matchAll(/(\/\S+) \(0x/g)].map(([, path = ""]) => path);
  for (const path of libraries) {
    await mkdir(join(root, dirname(path)), { recursive: true });
    await copyFile(path, join(root, path));
  }
  await copyFile(built, join(root, "bellhop"));
  await cp(join(ROOT, "handlers"), join(root, "handlers"), { recursive: true });
  for (const path of ["handlers", "data", "work", "proc"]) {
    await mkdir(join(root, path), { recursive: true });
    await chown(join(root, path), USER, USER);
  }
  return root;
}
