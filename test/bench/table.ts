// Formats Markdown tables, which are readable in a terminal and in the README.

export type Cell = string | number;

/** Pads each column to its widest cell; columns of numbers are right-aligned. */
export function table(rows: readonly Record<string, Cell>[]): string {
  const names = Object.keys(rows[0] ?? {});
  const text = (row: Record<string, Cell>, name: string) => String(row[name] ?? "");
  const widths = names.map((name) => Math.max(3, name.length, ...rows.map((row) => text(row, name).length)));
  const numeric = names.map((name) => rows.every((row) => /^[-–~]?[\d.,]*( ?[×%])?$/.test(text(row, name))));
  const line = (cells: string[]) =>
    `| ${cells.map((cell, n) => (numeric[n] ? cell.padStart(widths[n]!) : cell.padEnd(widths[n]!))).join(" | ")} |`;
  const rule = widths.map((width, n) => (numeric[n] ? `${"-".repeat(width - 1)}:` : "-".repeat(width)));
  return [line(names), line(rule), ...rows.map((row) => line(names.map((name) => text(row, name))))].join("\n");
}

/** Three significant digits, such as 12,345 and 0.123; a dash for a number that was not measured. */
export function number(value: number, digits = 3): string {
  if (!Number.isFinite(value)) return "–";
  if (Math.abs(value) >= 10 ** (digits - 1)) return Math.round(value).toLocaleString("en");
  return Number(value.toPrecision(digits)).toString();
}

export function ratio(value: number): string {
  return Number.isFinite(value) ? `${value.toFixed(2)} ×` : "–";
}
