import { expect, test } from "bun:test";

import { formatTable } from "../../src/cli/format-table.ts";

const rows = [
  ["12:00:00", "msg_2abcdefghijklmnopqrstuvwxyz", "user.created", "user_2abcdefghijklmnopqrstuvwxyz", "✓ user.created"],
  ["12:00:01", "msg_1", "session.created", "", "unhandled"],
];

test("columns are aligned, and without a terminal nothing is cut", () => {
  expect(formatTable(rows)).toBe(
    "12:00:00  msg_2abcdefghijklmnopqrstuvwxyz  user.created     user_2abcdefghijklmnopqrstuvwxyz  ✓ user.created\n" +
      "12:00:01  msg_1                            session.created                                    unhandled",
  );
  expect(formatTable([])).toBe("");
});

test("on a terminal it fits the width, and ids stay whole", () => {
  const lines = formatTable(rows, { width: 84, shrink: [3, 4] }).split("\n");
  for (const line of lines) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(84);
  expect(lines[0]).toContain("msg_2abcdefghijklmnopqrstuvwxyz");
  expect(lines[0]).toContain("user_2abc…");
  expect(formatTable(rows, { width: 100, shrink: [3, 4] }).split("\n")[0]).toEndWith("✓ user.created");
});

test("wide characters count as wide", () => {
  const [one = "", other = ""] = formatTable([
    ["名前名前", "x"],
    ["name", "y"],
  ]).split("\n");
  expect(Bun.stringWidth(one)).toBe(Bun.stringWidth(other));
  expect(formatTable([["名前名前名前名前", "x"]], { width: 14, shrink: [0] })).toBe("名前名前名…  x");
});

test("rows to look at are red on a terminal that has colours", () => {
  const text = formatTable(rows, { width: 200, isBad: (index) => index === 1 });
  expect(Bun.stripANSI(text)).toBe(formatTable(rows, { width: 200 }));
});
