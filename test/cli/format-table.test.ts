import { expect, test } from "bun:test";

import { formatTable } from "../../src/cli/format-table.ts";

const rows = [
  ["12:00:00", "msg_2abcdefghijklmnopqrstuvwxyz", "user.created", "user_2abcdefghijklmnopqrstuvwxyz", "✓ user.created"],
  ["12:00:01", "msg_1", "session.created", "", "unhandled"],
];

test("columns are aligned, and nothing is cut without a terminal width", () => {
  expect(formatTable(rows)).toBe(
    "12:00:00  msg_2abcdefghijklmnopqrstuvwxyz  user.created     user_2abcdefghijklmnopqrstuvwxyz  ✓ user.created\n" +
      "12:00:01  msg_1                            session.created                                    unhandled",
  );
  expect(formatTable([])).toBe("");
});

test("a table fits the width of the terminal and keeps ids whole", () => {
  const lines = formatTable(rows, { width: 84, shrink: [3, 4] }).split("\n");
  for (const line of lines) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(84);
  expect(lines[0]).toContain("msg_2abcdefghijklmnopqrstuvwxyz");
  expect(lines[0]).toContain("user_2abc…");
  expect(formatTable(rows, { width: 100, shrink: [3, 4] }).split("\n")[0]).toEndWith("✓ user.created");
});

test("wide characters take two columns", () => {
  const [first = "", second = ""] = formatTable([
    ["名前名前", "x"],
    ["name", "y"],
  ]).split("\n");
  expect(Bun.stringWidth(first)).toBe(Bun.stringWidth(second));
  expect(formatTable([["名前名前名前名前", "x"]], { width: 14, shrink: [0] })).toBe("名前名前名…  x");
});

test("on a narrow terminal a column is left out before the others are cut", () => {
  const [first] = formatTable(rows, { width: 80, shrink: [3, 4], drop: [3] }).split("\n");
  expect(first).toBe("12:00:00  msg_2abcdefghijklmnopqrstuvwxyz  user.created     ✓ user.created");
  const [cut] = formatTable(rows, { width: 70, shrink: [3, 4], drop: [3] }).split("\n");
  expect(cut).toBe("12:00:00  msg_2abcdefghijklmnopqrstuvwxyz  user.created     ✓ user.cr…");
});

test("a column without text takes no space", () => {
  expect(formatTable([["a", "", "b"]])).toBe("a  b");
});

test("bad rows are coloured without changing the text", () => {
  const text = formatTable(rows, { width: 200, isBad: (index) => index === 1 });
  expect(Bun.stripANSI(text)).toBe(formatTable(rows, { width: 200 }));
});
