import { expect, test } from "bun:test";
import { join, resolve } from "node:path";

import { commands } from "../src/cli/cli.ts";
import { COMMAND, commandPrefix } from "../src/command.ts";

const SRC = resolve(import.meta.dir, "../src");

test("a command is named as it works in a clone, in a project and in the binary", () => {
  const bun = "/usr/local/bin/bun";
  expect(COMMAND).toBe("bun");
  expect(commandPrefix("file:///home/ada/bellhop/src/command.ts", bun)).toBe("bun");
  expect(commandPrefix("file:///home/ada/shop/node_modules/bellhop/src/command.ts", bun)).toBe("bunx bellhop");
  expect(commandPrefix("file:///C:/shop/node_modules/bellhop/src/command.ts", bun)).toBe("bunx bellhop");
  expect(commandPrefix("file:///$bunfs/main.js", "/usr/local/bin/bellhop")).toBe("bellhop");
});

test("no message names a command by a fixed text", async () => {
  const fixed = new RegExp(`\\bbun (?:${Object.keys(commands).join("|")})\\b`);
  const found: string[] = [];
  for await (const file of new Bun.Glob("**/*.{ts,tsx}").scan(SRC))
    for (const [index, line] of (await Bun.file(join(SRC, file)).text()).split("\n").entries()) {
      const isComment = /^\s*(?:\/\/|\/?\*)/.test(line);
      // The rows of the settings are documentation: a test compares them with .env.example and the README.
      const isDocumentation = file === "settings.ts" && /^\s*(?:default|description|\{ name):?/.test(line);
      if (!isComment && !isDocumentation && fixed.test(line)) found.push(`${file}:${index + 1} ${line.trim()}`);
    }
  expect(found).toEqual([]);
});
