// docs/mirror.md lists the tables and their columns.

import { expect, test } from "bun:test";
import { join } from "node:path";

import { tables } from "../../src/mirror/tables.ts";

const PAGE = join(import.meta.dir, "../../docs/mirror.md");

test("docs/mirror.md lists every table with its columns", async () => {
  const text = await Bun.file(PAGE).text();
  const rows = [...text.matchAll(/^- `clerk_(\w+)`: ([^.]+)\.$/gm)].map(([, name, columns = ""]) => [
    name,
    [...columns.matchAll(/`(\w+)`/g)].map(([, column]) => column),
  ]);
  expect(rows).toEqual(tables.map(({ name, columns }) => [name, Object.keys(columns)]));
});
