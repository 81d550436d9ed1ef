import { expect, test } from "bun:test";

import type { ArgsDef, CommandMeta } from "citty";

import { commandGroups, commands } from "../../src/cli/cli.ts";
import { commandHelp, overview } from "../../src/cli/help.ts";

test("the overview begins with the commands of the first hour", () => {
  const lines = overview(commandGroups).split("\n");
  expect(lines[2]).toBe("Start with these");
  const first = lines.slice(3, lines.indexOf("", 3)).map((line) => line.trim().split(/ {2,}/)[0]);
  expect(first).toEqual(["bun dev", "bun send", "bun new", "bun deliveries", "bun replay"]);
  for (const name of Object.keys(commands))
    expect(lines.filter((line) => line.startsWith(`  bun ${name} `)).length, name).toBe(1);
});

test("a help text fits the width of the terminal, without trailing spaces", async () => {
  for (const [name, { load }] of Object.entries(commands)) {
    const { meta, args } = await load(() => Promise.reject(new Error("no server is opened for a help text")));
    const text = commandHelp((await meta) as CommandMeta, ((await args) ?? {}) as ArgsDef, 80);
    expect(text, name).toStartWith(`bun ${name}`);
    for (const line of text.split("\n")) {
      expect(Bun.stringWidth(line), line).toBeLessThanOrEqual(80);
      expect(line).toBe(line.trimEnd());
    }
  }
});

test("a long description continues in its column", () => {
  const text = commandHelp(
    { name: "bun send", description: "Send an event" },
    {
      event: { type: "positional", required: false, description: "One event" },
      count: { type: "string", default: "1", description: "How many different events of this type are sent to it" },
    },
    60,
  );
  expect(text).toBe(
    "bun send [event] [options]\n\nSend an event.\n\n" +
      "  event            One event\n\n" +
      "  --count <count>  How many different events of this type\n" +
      "                   are sent to it (default: 1)",
  );
});
