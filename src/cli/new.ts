// `bun new user.created` writes a typed handler that works as it stands; `bun new mirror` the one that mirrors users.

import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { defineCommand } from "citty";

import { eventNames, suggest } from "../clerk/events.ts";
import { processEnvironment } from "../config.ts";
import { UserError } from "../errors.ts";
import { fileFor, matches, readName } from "../handlers/names.ts";

export const newHandler = defineCommand({
  meta: { name: "bun new", description: "Write a handler file" },
  args: {
    event: {
      type: "positional",
      description: 'user.created, user.created/crm, "user.*", "*" or mirror',
      required: true,
    },
    force: { type: "boolean", description: "Write it although Bellhop does not know the event" },
  },
  run({ args: { event: name, force } }) {
    const dir = processEnvironment().HANDLERS_DIR?.trim() || "handlers";
    if (name === "mirror") return writeMirror(dir);
    const file = fileFor(name);
    const read = readName(file);
    if ("reason" in read) throw new UserError(`${name} ${read.reason}`);
    if (!force && !eventNames.some((known) => matches(read.event, known))) {
      const meant = suggest(read.event);
      throw new UserError(
        `Clerk has no event ${read.event}${meant ? `; did you mean ${meant}?` : ""}\n\n    To write it all the same: bun new ${name} --force`,
      );
    }
    const path = write(dir, file, template(read.event, force === true));
    const example = eventNames.find((known) => matches(read.event, known));
    console.log(`Wrote ${path}. A running bun dev has it already${example ? `; try it: bun send ${example}` : ""}`);
  },
});

function writeMirror(dir: string) {
  const text = `import { mirror } from "bellhop/mirror";\n\nexport default mirror();\n`;
  const path = write(dir, existsSync(join(dir, "[...event].ts")) ? "[...event]/mirror.ts" : "[...event].ts", text);
  console.log(
    `Wrote ${path}. From now on clerk_users, clerk_organizations and their memberships and invitations fill\n` +
      "themselves in your database. Those who were there before: bun backfill",
  );
}

function write(dir: string, file: string, text: string): string {
  const path = join(dir, file);
  if (existsSync(path)) throw new UserError(`${path} is there already, and is left as it is`);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}

function template(event: string, unknown: boolean): string {
  const about = event.endsWith("*") ? "${event.type} of ${data.id}" : `${event} of \${data.id}`;
  const names = event.endsWith("*") ? "{ event, data, log }" : "{ data, log }";
  if (unknown)
    return `import type { HandlerContext } from "bellhop";\n\nexport default async ({ event, log }: HandlerContext) => {\n  log.info(\`\${event.type} has come\`);\n};\n`;
  return `import { on } from "bellhop";\n\nexport default on("${event}", async (${names}) => {\n  log.info(\`${about}\`);\n});\n`;
}
