// A payload as rows of a tree: what is open, what a search finds, what a path is called. Pure.
// Rows are made only for what is open, and never more than asked for: a payload may be 1 MB.

export interface TreeRow {
  /** `data.email_addresses.0.id`; "" is the whole. */
  path: string;
  depth: number;
  /** Null for the whole. */
  key: string | null;
  value: unknown;
  /** How many are in it; null when it is no object and no array. */
  size: number | null;
  open: boolean;
}

export type Opened = ReadonlyMap<string, boolean>;

/** Deeper than that is folded at first. */
const OPEN_TO_DEPTH = 2;
/** Lists and objects with more than that are folded at first. */
const OPEN_TO_SIZE = 100;

/** The rows of what is open, at most `limit`; `more` when there are further ones. */
export function rowsOf(value: unknown, opened: Opened, limit: number): { rows: TreeRow[]; more: boolean } {
  const rows: TreeRow[] = [];
  const more = !add(value, "", null, 0);
  return { rows, more };

  function add(value: unknown, path: string, key: string | null, depth: number): boolean {
    if (rows.length === limit) return false;
    const size = sizeOf(value);
    const open = size !== null && size > 0 && (opened.get(path) ?? (depth <= OPEN_TO_DEPTH && size <= OPEN_TO_SIZE));
    rows.push({ path, depth, key, value, size, open });
    return !open || entriesOf(value).every(([name, each]) => add(each, join(path, name), name, depth + 1));
  }
}

/** Paths whose key or plain value has the text, in the order of the tree. */
export function find(value: unknown, text: string, most = 1_000): string[] {
  const wanted = text.trim().toLowerCase();
  const found: string[] = [];
  if (wanted !== "") look(value, "", "");
  return found;

  function look(value: unknown, path: string, key: string) {
    if (found.length === most) return;
    const plain = sizeOf(value) === null ? textOf(value) : "";
    // `data.first` is looked for in paths; `first` would be found in every path below it.
    const texts = [key, plain, wanted.includes(".") ? path : ""];
    if (texts.some((each) => each.toLowerCase().includes(wanted))) found.push(path);
    for (const [name, each] of entriesOf(value)) look(each, join(path, name), name);
  }
}

/** What has to be open for a path to be seen: all that it is in. */
export function openTo(opened: Opened, paths: readonly string[]): Opened {
  const all = new Map(opened);
  for (const path of paths) {
    all.set("", true);
    const parts = path.split(".");
    for (let length = 1; length < parts.length; length += 1) all.set(parts.slice(0, length).join("."), true);
  }
  return all;
}

/** Opens or folds everything. */
export function openAll(value: unknown, open: boolean): Opened {
  const all = new Map<string, boolean>();
  walk(value, "", 0);
  return all;

  function walk(value: unknown, path: string, depth: number) {
    if (sizeOf(value) === null) return;
    all.set(path, open || depth === 0);
    for (const [name, each] of entriesOf(value)) walk(each, join(path, name), depth + 1);
  }
}

export function sizeOf(value: unknown): number | null {
  if (Array.isArray(value)) return value.length;
  return typeof value === "object" && value !== null ? Object.keys(value).length : null;
}

/** As it stands in the tree: strings in quotes. */
export function textOf(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}

/** What is copied: strings as they are, all else as JSON. */
export function copyOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

function entriesOf(value: unknown): [string, unknown][] {
  return typeof value === "object" && value !== null ? Object.entries(value) : [];
}

function join(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}
