// `bun doctor`: what is on this machine. Bun, packages, settings, secret, handlers, disk.

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import packageJson from "../../package.json";
import { COMMAND } from "../command.ts";
import type { Config, Environment, Problem } from "../config.ts";
import { count } from "../count.ts";
import { describeRisk, type Disk } from "../disk.ts";
import { messageOf } from "../errors.ts";
import type { HandlerTable } from "../handlers/loader.ts";
import { ensureDevSecret } from "./dotenv.ts";
import { type Finding, note, ok, problem } from "./finding.ts";

const ROOT = join(import.meta.dir, "../..");
const GIGABYTE = 1_073_741_824;

export function checkBun(): Finding {
  return ok("bun", `Bun ${Bun.version}, and Bellhop ${packageJson.version} needs ${packageJson.engines.bun}`);
}

/** Whether the packages are those that this version was tested with. */
export function checkPackages(
  wanted: Readonly<Record<string, string>> = packageJson.dependencies,
  installed: (name: string) => string | undefined = installedVersion,
): Finding {
  const wrong = Object.entries(wanted).flatMap(([name, version]) => {
    const found = installed(name);
    return found === version ? [] : [`${name} is ${found ?? "missing"} instead of ${version}`];
  });
  if (wrong.length === 0) return ok("packages", `${Object.keys(wanted).length} packages in their exact versions`);
  const fix = { question: "Run bun install?", apply: install };
  return problem("packages", wrong.join(", "), "Install them: bun install", { fix });
}

/** Also where a package manager has put them beside Bellhop. */
function installedVersion(name: string): string | undefined {
  for (let folder = ROOT; ; folder = join(folder, "..")) {
    const file = join(folder, "node_modules", name, "package.json");
    if (existsSync(file)) return (JSON.parse(readFileSync(file, "utf8")) as { version?: string }).version;
    if (folder === join(folder, "..")) return undefined;
  }
}

async function install() {
  const exitCode = await Bun.spawn([process.execPath, "install"], { stdio: ["inherit", "inherit", "inherit"] }).exited;
  if (exitCode !== 0) throw new Error(`bun install ended with ${exitCode}`);
}

/** One finding for each invalid setting. */
export function checkSettings(read: { config: Config } | { problems: Problem[] }, env: Environment): Finding[] {
  if ("config" in read) return [ok("settings", "all settings are valid")];
  return read.problems.map(({ name, message, example }) => {
    const isSecret = name.startsWith("CLERK_WEBHOOK") && message === "is not set" && env.NODE_ENV !== "production";
    const fix = { question: "Write a secret for development into .env?", apply: async () => ensureDevSecret(env) };
    return problem("settings", `${name} ${message}`, example, isSecret ? { fix } : undefined);
  });
}

export function checkSecret({ secrets, secretHint, isDevSecret }: Config): Finding {
  const many = secrets.length > 1 ? `, ${secrets.length} secrets: remove the old one when the rotation has ended` : "";
  if (!isDevSecret) return ok("secret", `${secretHint} is well-formed${many}`);
  return note(
    "secret",
    `${secretHint} was made by ${COMMAND} dev, so Clerk does not have it`,
    "To receive from Clerk, paste the endpoint's signing secret into .env (Clerk Dashboard, Webhooks, your endpoint)",
  );
}

export function checkHandlers(table: HandlerTable): Finding[] {
  const { dir, handlers, notHandlers } = table;
  if (handlers.length === 0) {
    const fix = {
      question: `Write ${dir}/user.created.ts?`,
      async apply() {
        mkdirSync(dir, { recursive: true });
        const text = `import { on } from "bellhop";\n\nexport default on("user.created", ({ data, log }) => log.info(data.id));\n`;
        await Bun.write(join(dir, "user.created.ts"), text);
      },
    };
    return [problem("handlers", `${dir}/ has no handler`, `Write one: ${COMMAND} new user.created`, { fix })];
  }
  const broken = handlers.flatMap(({ error }) =>
    error
      ? [
          problem(
            "handlers",
            `${dir}/${error.where} does not load: ${messageOf(new Error(error.message)).split("\n", 1)[0]}`,
            "Fix the file",
          ),
        ]
      : [],
  );
  const warnings = handlers.flatMap(({ file, warning }) =>
    warning ? [note("handlers", `${dir}/${file}: ${warning}`)] : [],
  );
  const ignored = notHandlers
    .filter(({ quiet }) => !quiet)
    .map(({ file, reason }) => note("handlers", `${dir}/${file} is not a handler: ${reason}`));
  const loaded = handlers.length - broken.length;
  return [...broken, ...warnings, ...ignored, ok("handlers", count(loaded, "handler loads", "handlers load"))];
}

/** Whether the data is safe there, and has space to grow. */
export function checkDisk(directory: string, disk: Disk | undefined, isUsed: boolean): Finding {
  if (!isUsed) return ok("disk", `${directory} has no database: both are in Postgres`);
  if (!disk) return note("disk", `it is not known where ${directory} is stored`);
  const { freeBytes, totalBytes, fileSystem } = disk;
  const free = `${(freeBytes / GIGABYTE).toFixed(1)} GB of ${(totalBytes / GIGABYTE).toFixed(1)} GB free`;
  const risk = describeRisk(fileSystem);
  if (risk)
    return problem("disk", `${directory} is ${risk} (${free})`, "Set DATA_DIR to a folder on a persistent disk");
  if (freeBytes < GIGABYTE / 4)
    return problem("disk", `${directory}: ${free}`, "Free some space: on a full disk, deliveries get 503");
  const where = `${directory} is on ${fileSystem ?? "a disk"}, ${free}`;
  return freeBytes < GIGABYTE ? note("disk", where, "Free some space soon") : ok("disk", where);
}
