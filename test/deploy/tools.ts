// Runs the programs that the proofs of deployment need, and installs them on Debian if they are missing.

import { readdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";

import { freePort, SECRET, until } from "../harness.ts";

export const ROOT = resolve(import.meta.dir, "../..");

/** Yields a sentence for each fact that it has checked; throws at the first one that does not hold. */
export interface Proof {
  name: string;
  /** Programs that it runs, and the Debian packages that have them. */
  needs: Record<string, string>;
  prove(folder: string): AsyncGenerator<string>;
}

// A registry may be slow, and CI's machine is busy.
const TIMEOUT_MS = 180_000;

interface RunOptions {
  cwd?: string;
  env?: Record<string, string | undefined>;
  /** The text of its standard input. */
  input?: string;
}

/** Returns the standard output; throws with all output if the program fails. */
export async function run(command: string[], { cwd = ROOT, env, input }: RunOptions = {}): Promise<string> {
  const child = Bun.spawn(command, {
    cwd,
    env: { ...process.env, ...env },
    stdin: input === undefined ? "ignore" : new Blob([input]),
    stdout: "pipe",
    stderr: "pipe",
    timeout: TIMEOUT_MS,
  });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code === 0) return stdout;
  throw new Error(`${command.join(" ")}\nended with ${child.signalCode ?? code}\n${stdout}${stderr}`);
}

/** The reason why the programs can't be used, or undefined when they can. */
export async function missing(needs: Record<string, string>): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return "needs root, for chroot and mounts";
  // A container without privileges may refuse some kinds of mounts only.
  const mount = "mount -t tmpfs none /mnt && mkdir /mnt/proc && mount -t proc proc /mnt/proc";
  const mounts = await run(["unshare", "--mount", "sh", "-c", mount]).then(() => true, () => false); // prettier-ignore
  if (!mounts) return "this machine does not allow mounts";
  const absent = () => Object.keys(needs).filter((program) => !Bun.which(program));
  const packages = absent().map((program) => needs[program]!);
  if (packages.length === 0) return undefined;
  console.log(`+ apt-get install ${packages.join(" ")}`);
  const install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", ...packages];
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  await run(["apt-get", "update", "-qq"]).catch(() => undefined);
  await run(install, { env }).catch((error: unknown) => console.log(String(error)));
  const still = absent();
  return still.length === 0 ? undefined : `${still.join(", ")} could not be installed`;
}

export interface Started extends AsyncDisposable {
  url: string;
  /** Settings with which commands find the server. */
  env: Record<string, string>;
  /** The process that a host would send its signals to. */
  pid: number;
  output(): string;
  /** Sends SIGTERM, as each host does, and returns the exit code. */
  stop(): Promise<number>;
}

interface StartOptions {
  /** The id of the server's process, from that of the program which starts it. */
  pidOf?: (launcher: number) => Promise<number | undefined>;
}

/** Starts a server on a free port, and waits until it is healthy. `command` gets its settings. */
export async function start(
  command: (env: Record<string, string>) => string[],
  { pidOf = async (launcher) => launcher }: StartOptions = {},
): Promise<Started> {
  const port = String(await freePort());
  const env = { PORT: port, CLERK_WEBHOOK_SIGNING_SECRET: SECRET };
  const child = Bun.spawn(command(env), { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  let text = "";
  for (const stream of [child.stdout, child.stderr])
    void (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of stream) text += decoder.decode(chunk, { stream: true });
    })();
  const url = `http://127.0.0.1:${port}`;
  let pid = child.pid;
  const dispose = async () => {
    if (child.exitCode !== null) return;
    // A launcher does not pass this signal on.
    for (const id of [...(await descendantsOf(child.pid)), child.pid]) process.kill(id, "SIGKILL");
    await child.exited;
  };
  try {
    await until("a healthy server", async () => {
      if (child.exitCode !== null) throw new Error("it has ended");
      return await fetch(`${url}/health`).then(({ ok }) => ok).catch(() => undefined);
    }, TIMEOUT_MS); // prettier-ignore
    pid = await until("the server's process", () => pidOf(child.pid));
  } catch (error) {
    await dispose();
    throw new Error(`the server did not start:\n${text}`, { cause: error });
  }
  return {
    url,
    env,
    pid,
    output: () => text,
    async stop() {
      process.kill(pid, "SIGTERM");
      const timer = setTimeout(() => void dispose(), TIMEOUT_MS);
      const code = await child.exited;
      clearTimeout(timer);
      return code;
    },
    [Symbol.asyncDispose]: dispose,
  };
}

/** The processes below one, the nearest first. */
export async function descendantsOf(pid: number): Promise<number[]> {
  // Each thread has its own children.
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []);
  const lists = threads.map((id) => readFile(`/proc/${pid}/task/${id}/children`, "utf8").catch(() => ""));
  const children = (await Promise.all(lists)).flatMap((text) => text.split(" ").filter(Boolean).map(Number));
  const below = await Promise.all(children.map(descendantsOf));
  return [...children, ...below.flat()];
}

/** A field of a process's status, such as `Uid`: its real, effective, saved and file system id. */
export async function statusOf(pid: number, field: string): Promise<string[]> {
  const text = await readFile(join("/proc", String(pid), "status"), "utf8");
  const line = text.split("\n").find((candidate) => candidate.startsWith(`${field}:`)) ?? "";
  return line.split(/\s+/).slice(1);
}

/** The states of the runs of a delivery, in the JSON of `bellhop deliveries --json`. */
export function statesOf(json: string, id: string): string[] | undefined {
  const { deliveries } = JSON.parse(json) as { deliveries: { id: string; runs: { state: string }[] }[] };
  return deliveries.find((delivery) => delivery.id === id)?.runs.map(({ state }) => state);
}

/** The id that `bellhop send` prints. */
export function idIn(output: string): string {
  const [id] = /msg_\w+/.exec(output) ?? [];
  if (!id || !output.includes("200 ")) throw new Error(`the event was not accepted:\n${output}`);
  return id;
}

export function ensure(condition: boolean, fact: string): void {
  if (!condition) throw new Error(`does not hold: ${fact}`);
}
