// Builds an image with buildah and runs containers of it, without a container engine: by `buildah run --isolation chroot`,
// or, with a read-only root and process ids of its own, by `unshare`.

import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { descendantsOf, run, start, type Started } from "./tools.ts";

export interface Buildah {
  /** The whole command line of a subcommand. */
  command(args: string[]): string[];
  run(args: string[]): Promise<string>;
}

/** With a storage of its own in `folder`. */
export async function openBuildah(folder: string): Promise<Buildah> {
  const withDriver = (driver: string): Buildah => {
    const storage = ["--root", join(folder, driver), "--runroot", join(folder, `${driver}-run`)];
    const command = (args: string[]) => ["buildah", ...storage, "--storage-driver", driver, ...args];
    return { command, run: (args) => run(command(args)) };
  };
  // An overlay on an overlay, as on a machine that is a container, is refused. Copies are slower, and always work.
  const overlay = withDriver("overlay");
  try {
    await overlay.run(["rm", (await overlay.run(["from", "scratch"])).trim()]);
    return overlay;
  } catch {
    return withDriver("vfs");
  }
}

export interface ImageConfig {
  User: string;
  Env: string[];
  Entrypoint: string[];
  Cmd: string[];
  WorkingDir: string;
  StopSignal: string;
  Volumes: Record<string, object>;
  Healthcheck: { Test: string[] };
}

export async function configOf(buildah: Buildah, image: string): Promise<ImageConfig> {
  const { Docker } = JSON.parse(await buildah.run(["inspect", "--type", "image", image])) as {
    Docker: { config: ImageConfig };
  };
  return Docker.config;
}

interface RunOptions {
  /** The directory that is mounted at /data. */
  volume?: string;
  env?: Record<string, string>;
  user?: string;
}

export interface Container extends AsyncDisposable {
  /** Runs a command beside the server, as `docker exec` does. */
  run(command: string[], options?: RunOptions): Promise<string>;
  /** Starts the image's command. */
  start(volume: string, user?: string): Promise<Started>;
  /** The same with a read-only root, and as process 1. */
  startReadOnly(volume: string): Promise<Started>;
}

export async function createContainer(buildah: Buildah, image: string): Promise<Container> {
  const config = await configOf(buildah, image);
  const id = (await buildah.run(["from", "--pull-never", image])).trim();
  // An engine mounts the given directory in place of the image's volume. buildah would prefer a directory of its own.
  for (const path of Object.keys(config.Volumes)) await buildah.run(["config", "--volume", `${path}-`, id]);
  const inContainer = (command: string[], { volume, env = {}, user = config.User }: RunOptions = {}) => {
    const mounts = volume ? ["--volume", `${volume}:/data`] : [];
    const variables = Object.entries(env).flatMap(([name, value]) => ["--env", `${name}=${value}`]);
    return ["run", "--isolation", "chroot", "--user", user, ...mounts, ...variables, id, "--", ...command];
  };
  const command = [...config.Entrypoint, ...config.Cmd];
  const pidOf = (launcher: number) => findDescendant(launcher, config.Cmd);
  return {
    run: (args, options) => buildah.run(inContainer(args, options)),
    start: (volume, user = config.User) =>
      start((env) => buildah.command(inContainer(command, { volume, env, user })), { pidOf }),
    async startReadOnly(volume) {
      const root = (await buildah.run(["mount", id])).trim();
      return await start((env) => readOnly(root, volume, config, env), { pidOf });
    },
    async [Symbol.asyncDispose]() {
      await buildah.run(["rm", id]);
    },
  };
}

// $0 is the root, $1 the volume, and the rest is the command, with the image's user and settings.
const ENTER = `set -e
root=$0 volume=$1 && shift
mount --bind "$root" "$root"
mount --bind "$volume" "$root/data"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -o remount,bind,ro "$root"
if touch "$root/app/probe" 2> /dev/null; then echo "the root can be written to"; exit 1; fi
exec "$@"`;

function readOnly(root: string, volume: string, { User, Env, WorkingDir, Entrypoint, Cmd }: ImageConfig, more: object) {
  const variables = [...Env, ...Object.entries(more).map(([name, value]) => `${name}=${String(value)}`)];
  const image = ["chroot", `--userspec=${User}`, root, "env", "--ignore-environment", `--chdir=${WorkingDir}`];
  const namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"];
  return [...namespaces, "sh", "-c", ENTER, root, volume, ...image, ...variables, ...Entrypoint, ...Cmd];
}

async function findDescendant(launcher: number, command: string[]): Promise<number | undefined> {
  for (const pid of await descendantsOf(launcher)) {
    const text = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (text.split("\0").slice(0, -1).join(" ") === command.join(" ")) return pid;
  }
  return undefined;
}
