// `bunx bellhop init` adds Bellhop to the project in this directory. Never changes a line that is there already.

import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

import { defineCommand } from "citty";

import { COMMAND } from "../command.ts";
import { handlersDirOf, processEnvironment } from "../config.ts";
import { printable } from "../printable.ts";
import { ensureDevSecret } from "./dotenv.ts";
import { environmentExample, handlerFiles, IGNORED, projectFiles, SECRET_EXAMPLE } from "./init-files.ts";

export const init = defineCommand({
  meta: { name: `${COMMAND} init`, description: "Add Bellhop to the project in this directory" },
  args: {
    project: {
      type: "boolean",
      description: "Also write tsconfig.json, compose.yaml and AGENTS.md, as a new project has",
    },
  },
  run({ args: { project = false } }) {
    const env = processEnvironment();
    const dir = handlersDirOf(env);
    const files = {
      ...(!existsSync(dir) && handlerFiles(dir)),
      ...(project && projectFiles(dir)),
      ...(!existsSync(".env.example") && { ".env.example": environmentExample() }),
    };
    const written = Object.entries(files).flatMap(([file, text]) => writeNew(file, text));
    written.push(...append(".gitignore", IGNORED), ...append(".env.example", SECRET_EXAMPLE));
    if (Object.keys(ensureDevSecret(env)).length > 0) written.push(".env, with a signing secret for development");
    for (const line of written) console.log(`  + ${printable(line)}`);
    if (written.length === 0) console.log("Bellhop is in this project already: nothing was changed.");
    // The test imports "bun:test", which an application's own compiler would not find.
    if (!project && existsSync("tsconfig.json") && !TYPES.some((path) => existsSync(path)))
      console.log("\nFor the types of Bun: bun add -d @types/bun");
    const own = project
      ? ""
      : '\n\nTo run it in a server of your own, use `createBellhop` of "bellhop" (docs/mount.md in its repository).';
    console.log(
      `\nRun the server, and send it an event from a second terminal:\n\n    ${COMMAND} dev\n    ${COMMAND} send user.created${own}`,
    );
  },
});

const TYPES = ["node_modules/@types/bun", "node_modules/bun-types"];

/** Returns the names of the files that are new. */
function writeNew(file: string, text: string): string[] {
  if (existsSync(file)) return [];
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  return [file];
}

/** Adds the lines whose key, the text before `=`, the file does not have. Returns the names of files that have changed. */
function append(file: string, lines: readonly string[]): string[] {
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  const keyOf = (line: string) => line.replace(/=.*|^[#\s]+|^\/|[\s/]+$/g, "");
  // A line of .gitignore is a pattern: `.env*` includes `.env`.
  const known = text.split("\n").map((line) => new Bun.Glob(keyOf(line)));
  const added = lines.filter((line) => !known.some((pattern) => pattern.match(keyOf(line))));
  if (added.length === 0) return [];
  appendFileSync(file, `${text === "" || text.endsWith("\n") ? "" : "\n"}${added.join("\n")}\n`);
  return [file];
}
