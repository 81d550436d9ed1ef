// Prints rows as a table. On a terminal it fits the width, and dead rows are red; elsewhere nothing is cut.

import { styleText } from "node:util";

import { printable } from "../printable.ts";

export interface TableOptions {
  /** Columns that may be cut, in this order. Never cut ids: people copy them. */
  shrink?: readonly number[];
  /** Columns of `shrink` that are left out when cutting them is not enough, before the columns after them are cut. */
  drop?: readonly number[];
  /** Rows that need attention. */
  isBad?: (index: number) => boolean;
  /** Characters in a line; undefined when the output is not a terminal. */
  width?: number | undefined;
}

const GAP = "  ";
// A shorter cell would be meaningless.
const MIN_WIDTH = 10;

/** Cells may contain untrusted text, which is made printable. */
export function formatTable(cells: readonly (readonly string[])[], options: TableOptions = {}): string {
  const rows = cells.map((row) => row.map(printable));
  const { shrink = [], drop = [], isBad = () => false, width = terminalWidth() } = options;
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(0, ...rows.map((row) => Bun.stringWidth(row[column] ?? ""))),
  );
  if (width !== undefined) shrinkTo(widths, shrink, width, drop);
  return rows
    .map((row, index) => {
      const text = widths
        .flatMap((size, column) => (size === 0 ? [] : [fit(row[column] ?? "", size)]))
        .join(GAP)
        .trimEnd();
      return isBad(index) && width !== undefined ? styleText("red", text, { stream: process.stdout }) : text;
    })
    .join("\n");
}

function shrinkTo(widths: number[], shrink: readonly number[], width: number, drop: readonly number[]) {
  let excess = widths.reduce((sum, size) => (size === 0 ? sum : sum + size + GAP.length), -GAP.length) - width;
  for (const column of shrink) {
    const size = widths[column] ?? 0;
    const cut = Math.max(0, Math.min(excess, size - MIN_WIDTH));
    widths[column] = size - cut;
    excess -= cut;
    if (!drop.includes(column) || excess <= 0 || size === 0) continue;
    excess -= size - cut + GAP.length;
    widths[column] = 0;
  }
}

function fit(text: string, width: number): string {
  const missing = width - Bun.stringWidth(text);
  if (missing >= 0) return text + " ".repeat(missing);
  let [cut, size] = ["", 0];
  for (const character of text) {
    size += Bun.stringWidth(character);
    if (size > width - 1) break;
    cut += character;
  }
  return `${cut}…${" ".repeat(Math.max(0, width - 1 - Bun.stringWidth(cut)))}`;
}

/** Characters in a line; undefined when the output is not a terminal. */
export function terminalWidth(): number | undefined {
  return process.stdout.isTTY ? process.stdout.columns : undefined;
}
