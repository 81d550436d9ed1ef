// The Dockerfile, really built and run, with a base image of Debian's packages and npm's Bun.

import { chown, mkdir, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";

import { until } from "../harness.ts";
import { type Buildah, configOf, type Container, createContainer, openBuildah } from "./buildah.ts";
import { descendantsOf, ensure, idIn, type Proof, ROOT, run, type Started, statesOf, statusOf } from "./tools.ts";

const USER = 1000;
const BASE = "localhost/bun-of-this-machine";
const IMAGE = "localhost/bellhop";
const DOCKERFILE = "examples/deploy/Dockerfile";
// For what the Dockerfile runs: sh, mkdir, id, chown, setpriv.
const PACKAGES = "base-files,base-passwd,dash,coreutils,util-linux,libc6,libgcc-s1";

export const image: Proof = {
  name: "the image of the Dockerfile",
  needs: { buildah: "buildah", mmdebstrap: "mmdebstrap", unshare: "util-linux", mount: "mount" },
  async *prove(folder) {
    const buildah = await openBuildah(folder);
    await makeBase(buildah, join(folder, "rootfs"));
    await build(buildah, join(folder, "context"));
    yield "builds, with a base image of Debian's packages and npm's Bun as a build argument";

    const { User, Volumes, StopSignal, Healthcheck } = await configOf(buildah, IMAGE);
    ensure(User === `${USER}:${USER}`, `the user is not root: ${User}`);
    ensure("/data" in Volumes && StopSignal === "SIGTERM", "it has a volume and SIGTERM");
    const [kind, ...healthcheck] = Healthcheck.Test;
    ensure(kind === "CMD", "the health check needs no shell");
    yield "is not root, and has a volume, SIGTERM and a health check";

    const volume = await makeVolume(join(folder, "volume"), USER);
    let first: string;
    {
      await using container = await createContainer(buildah, IMAGE);
      const files = await container.run(["sh", "-c", "cat /app/.env 2>&1; ls -a /app"]);
      ensure(!files.includes("sk_test"), `no secret of the build context is in the image: ${files}`);
      await using server = await container.start(volume);
      await runsAsUser(server);
      first = await sendAndWait(server, container, volume);
      await container.run(healthcheck, { env: server.env });
      await stopsGracefully(server);
      const unhealthy = container.run(healthcheck, { env: server.env });
      ensure(await unhealthy.then(() => false, () => true), "the health check of a stopped server fails"); // prettier-ignore
    }
    yield "stores an event, runs its handler as uid 1000, is healthy, and ends with 0 after SIGTERM";

    {
      await using container = await createContainer(buildah, IMAGE);
      await using server = await container.startReadOnly(volume);
      await runsAsUser(server);
      await isDone(container, volume, server, first);
      await sendAndWait(server, container, volume);
      await stopsGracefully(server);
    }
    yield "a new container on the same volume has the event, with a read-only root and as process 1";

    const volumeOfRoot = await makeVolume(join(folder, "volume-of-root"), 0);
    {
      await using container = await createContainer(buildah, IMAGE);
      await using server = await container.start(volumeOfRoot, "0:0");
      await runsAsUser(server);
      ensure((await statusOf(server.pid, "NoNewPrivs"))[0] === "1", "the server can't become root again");
      ensure((await stat(volumeOfRoot)).uid === USER, "the volume belongs to the server's user");
      await sendAndWait(server, container, volumeOfRoot);
      await stopsGracefully(server);
    }
    yield "started as root on a volume of root, as on Render and Railway, it becomes uid 1000";
    yield "not checked: Docker's volumes, networks, cgroups and seccomp, which chroot isolation does not have";
  },
};

async function makeBase(buildah: Buildah, rootfs: string) {
  const [, suite = ""] = /^VERSION_CODENAME=(\S+)$/m.exec(await readFile("/etc/os-release", "utf8")) ?? [];
  const merged = "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr";
  await run(["mmdebstrap", "--quiet", "--variant=extract", `--include=${PACKAGES}`, merged, suite, rootfs]);
  const bun = join(rootfs, "usr/local/bin/bun");
  await mkdir(dirname(bun), { recursive: true });
  await run(["cp", "--dereference", process.execPath, bun]);
  const container = (await buildah.run(["from", "scratch"])).trim();
  await buildah.run(["copy", "--quiet", container, rootfs, "/"]);
  await buildah.run(["commit", "--quiet", "--rm", container, BASE]);
}

/** From a copy of the checkout, with a secret in it. */
async function build(buildah: Buildah, context: string) {
  await mkdir(context);
  await run(["sh", "-c", 'tar --exclude=./node_modules --exclude=./.git -c . | tar -x -C "$0"', context]);
  await Bun.write(join(context, ".env"), "CLERK_SECRET_KEY=sk_test_not_in_the_image\n");
  // The registry that this machine uses, without its credentials.
  const npmrc = `${context}.npmrc`;
  await Bun.write(npmrc, `registry=${(await run(["npm", "config", "get", "registry"])).trim()}\n`);
  const volumes = ["--volume", `${npmrc}:/root/.npmrc:ro`, "--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"];
  const files = ["--ignorefile", join(context, `${DOCKERFILE}.dockerignore`), "--file", join(context, DOCKERFILE)];
  const options = ["--format", "docker", "--isolation", "chroot", "--build-arg", `BASE=${BASE}`, ...volumes, ...files];
  await buildah.run(["build", ...options, "--tag", IMAGE, context]);
}

async function makeVolume(path: string, owner: number): Promise<string> {
  await mkdir(path);
  await chown(path, owner, owner);
  return path;
}

/** Sends an event from outside, and waits until its handler is done. */
async function sendAndWait(server: Started, container: Container, volume: string): Promise<string> {
  const send = [process.execPath, join(ROOT, "src/main.ts"), "send", "user.created"];
  const id = idIn(await run(send, { env: { ...server.env, HANDLERS_DIR: "handlers" } }));
  await isDone(container, volume, server, id);
  return id;
}

async function isDone(container: Container, volume: string, { env }: Started, id: string) {
  const command = ["bun", "node_modules/bellhop/src/main.ts", "deliveries", "--json"];
  const condition = async () => {
    const json = await container.run(command, { volume, env });
    // buildah sometimes loses the output of a command that ends at once.
    return json !== "" && statesOf(json, id)?.join() === "done";
  };
  await until(`the run of ${id} to be done`, condition, 60_000);
}

async function runsAsUser(server: Started) {
  for (const pid of [server.pid, ...(await descendantsOf(server.pid))]) {
    const ids = [...(await statusOf(pid, "Uid")), ...(await statusOf(pid, "Gid"))];
    ensure(ids.every((id) => id === String(USER)), `process ${pid} of the server is uid and gid ${ids.join()}`); // prettier-ignore
  }
}

async function stopsGracefully(server: Started) {
  const code = await server.stop();
  ensure(
    code === 0 && server.output().includes("stopping:"),
    `SIGTERM ends it with 0, not ${code}:\n${server.output()}`,
  );
}
