// `bun new user.created` writes a typed handler that runs unchanged; `bun new mirror` writes the one that mirrors
// users.

import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";

import { defineCommand } from "citty";

import { eventNames } from "../clerk/events.ts";
import { matchesPattern } from "../clerk/pattern.ts";
import { COMMAND } from "../command.ts";
import { handlersDirOf, processEnvironment } from "../config.ts";
import { UserError } from "../errors.ts";
import { fileFor, readName } from "../handlers/names.ts";
import type { TableName } from "../mirror/table.ts";
import { didYouMean } from "../suggest.ts";

export const newHandler = defineCommand({
  meta: { name: `${COMMAND} new`, description: "Write a handler file" },
  args: {
    event: {
      type: "positional",
      description: 'user.created, user.created/crm, "user.*", "*" or mirror',
      required: true,
    },
    tables: { type: "string", description: "Of the mirror: all, or some of them", valueHint: "users,subscriptions" },
    force: { type: "boolean", description: "Write it even if Bellhop does not know the event" },
  },
  async run({ args: { event, force, tables } }) {
    const dir = handlersDirOf(processEnvironment());
    const name = eventNameOf(event, dir);
    if (name === "mirror") return await writeMirror(dir, tables);
    if (tables !== undefined) throw new UserError(`--tables belongs to: ${COMMAND} new mirror`);
    const file = fileFor(name);
    const read = readName(file);
    if ("reason" in read) throw new UserError(`${name} is not a handler name: ${read.reason}`);
    if (!force && !eventNames.some((known) => matchesPattern(read.event, known)))
      throw new UserError(
        `Clerk has no event ${read.event}${didYouMean(read.event, eventNames)}\n\n    To write it anyway: ${COMMAND} new ${name} --force`,
      );
    const path = write(dir, file, handlerTemplate(read.event, force));
    const example = eventNames.find((known) => matchesPattern(read.event, known));
    console.log(
      `Wrote ${path}, which a running ${COMMAND} dev loads at once${example ? `. Try it: ${COMMAND} send ${example}` : ""}`,
    );
  },
});

/** A path of a handler is accepted, too: `handlers/user.created.ts` is `user.created`. */
function eventNameOf(argument: string, dir: string): string {
  const folder = [dir, basename(dir)].find((path) => argument.startsWith(`${path}/`));
  const path = folder === undefined ? argument : argument.slice(folder.length + 1);
  return path.replace(/\.ts$/, "");
}

async function writeMirror(dir: string, wanted: string | undefined) {
  const { mirrorsOf } = await import("./mirror-commands.ts");
  const names = await readTables(wanted);
  const [existing] = existsSync(dir) ? await mirrorsOf(dir) : [];
  if (existing) {
    const there = existing.tables.map(({ table }) => table.name);
    const more = names?.filter((table) => !there.includes(table)) ?? [];
    const call = `To mirror ${more.join(", ")} too, name all tables there:\n\n    export default ${mirrorCall([...there, ...more])};\n\n`;
    throw new UserError(
      `There is a mirror already: ${dir}/${existing.file}. ${more.length > 0 ? call : ""}` +
        `To copy what Clerk had before: ${COMMAND} backfill`,
    );
  }
  const text = `import { mirror } from "bellhop/mirror";\n\nexport default ${mirrorCall(names)};\n`;
  const path = write(dir, existsSync(join(dir, "[...event].ts")) ? "[...event]/mirror.ts" : "[...event].ts", text);
  const filled = names
    ? names.map((table) => `clerk_${table}`).join(", ")
    : "clerk_users, clerk_organizations and their memberships and\ninvitations";
  console.log(
    `Wrote ${path}. From now on webhooks fill ${filled} in your database.\n` +
      `To copy what Clerk had before: ${COMMAND} backfill`,
  );
  if (!names)
    console.log(`Billing, sessions, roles and more: add tables to mirror(…), or ${COMMAND} new mirror --tables all`);
}

/** The tables of `--tables`; undefined for those of `mirror()`. */
async function readTables(wanted: string | undefined): Promise<TableName[] | undefined> {
  if (wanted === undefined) return undefined;
  const { tables } = await import("../mirror/tables.ts");
  const known = tables.map(({ name }) => name);
  if (wanted === "all") return known;
  const names = wanted.split(",").map((name) => name.trim().replace(/^clerk_/, ""));
  const unknown = names.find((name) => !known.includes(name as TableName));
  if (unknown !== undefined)
    throw new UserError(
      `The mirror has no table ${JSON.stringify(unknown)}${didYouMean(unknown, known, `; there are ${known.join(", ")}`)}`,
    );
  return names as TableName[];
}

function mirrorCall(names: readonly TableName[] | undefined): string {
  return names ? `mirror({ tables: [${names.map((name) => `"${name}"`).join(", ")}] })` : "mirror()";
}

function write(dir: string, file: string, text: string): string {
  const path = join(dir, file);
  if (existsSync(path)) throw new UserError(`${path} exists already and was not changed`);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}

export function handlerTemplate(event: string, unknown = false): string {
  const about = event.endsWith("*") ? "${event.type} of ${data.id}" : `${event} of \${data.id}`;
  const names = event.endsWith("*") ? "{ event, data, log }" : "{ data, log }";
  if (unknown)
    return `import type { HandlerContext } from "bellhop";\n\nexport default async ({ event, log }: HandlerContext) => {\n  log.info(\`\${event.type} received\`);\n};\n`;
  return `import { on } from "bellhop";\n\nexport default on("${event}", async (${names}) => {\n  log.info(\`${about}\`);\n});\n`;
}
