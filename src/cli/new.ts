// `bun new user.created` writes a typed handler that runs unchanged; `bun new mirror` writes the one that mirrors
// users.

import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { defineCommand } from "citty";

import { eventNames } from "../clerk/events.ts";
import { matchesPattern } from "../clerk/pattern.ts";
import { COMMAND } from "../command.ts";
import { handlersDirOf, processEnvironment } from "../config.ts";
import { UserError } from "../errors.ts";
import { fileFor, readName } from "../handlers/names.ts";
import { didYouMean } from "../suggest.ts";

export const newHandler = defineCommand({
  meta: { name: `${COMMAND} new`, description: "Write a handler file" },
  args: {
    event: {
      type: "positional",
      description: 'user.created, user.created/crm, "user.*", "*" or mirror',
      required: true,
    },
    force: { type: "boolean", description: "Write it even if Bellhop does not know the event" },
  },
  async run({ args: { event: name, force } }) {
    const dir = handlersDirOf(processEnvironment());
    if (name === "mirror") return await writeMirror(dir);
    const file = fileFor(name);
    const read = readName(file);
    if ("reason" in read) throw new UserError(`${name} ${read.reason}`);
    if (!force && !eventNames.some((known) => matchesPattern(read.event, known)))
      throw new UserError(
        `Clerk has no event ${read.event}${didYouMean(read.event, eventNames)}\n\n    To write it anyway: ${COMMAND} new ${name} --force`,
      );
    const path = write(dir, file, handlerTemplate(read.event, force));
    const example = eventNames.find((known) => matchesPattern(read.event, known));
    console.log(
      `Wrote ${path}. A running ${COMMAND} dev has loaded it${example ? `; try it: ${COMMAND} send ${example}` : ""}`,
    );
  },
});

async function writeMirror(dir: string) {
  const { mirrorsOf } = await import("./mirror-commands.ts");
  const [existing] = existsSync(dir) ? await mirrorsOf(dir) : [];
  if (existing)
    throw new UserError(
      `There is a mirror already: ${dir}/${existing.file}. To copy what Clerk had before: ${COMMAND} backfill`,
    );
  const text = `import { mirror } from "bellhop/mirror";\n\nexport default mirror();\n`;
  const path = write(dir, existsSync(join(dir, "[...event].ts")) ? "[...event]/mirror.ts" : "[...event].ts", text);
  console.log(
    `Wrote ${path}. From now on webhooks fill clerk_users, clerk_organizations and their memberships and\n` +
      `invitations in your database. To copy what Clerk had before: ${COMMAND} backfill`,
  );
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
