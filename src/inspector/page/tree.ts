// A payload as rows of a tree, with folding and search. Pure.
// Creates rows only for open nodes, up to a limit: a payload may be 1 MB.

export interface TreeRow {
  /** `data.email_addresses.0.id`; "" is the root. */
  path: string;
  depth: number;
  /** Null for the root. */
  key: string | null;
  value: unknown;
  /** The number of children; null for a primitive value. */
  size: number | null;
  open: boolean;
}

export type Opened = ReadonlyMap<string, boolean>;

/** Nodes deeper than this start folded. */
const OPEN_TO_DEPTH = 2;
/** Arrays and objects with more children start folded. */
const OPEN_TO_SIZE = 100;

/**
 * The rows of open nodes, at most `limit`; `more` when there are further ones. Without `withEmpty`, fields without content
 * are left out and counted: a third of a user's payload is empty.
 */
export function rowsOf(value: unknown, opened: Opened, limit: number, withEmpty = true) {
  const rows: TreeRow[] = [];
  let empty = 0;
  const more = !add(value, "", null, 0);
  return { rows, more, empty };

  function add(value: unknown, path: string, key: string | null, depth: number): boolean {
    if (rows.length === limit) return false;
    if (!withEmpty && path !== "" && isEmpty(value)) {
      empty += 1;
      return true;
    }
    const size = sizeOf(value);
    const open = size !== null && size > 0 && (opened.get(path) ?? (depth <= OPEN_TO_DEPTH && size <= OPEN_TO_SIZE));
    rows.push({ path, depth, key, value, size, open });
    return !open || entriesOf(value).every(([name, each]) => add(each, join(path, name), name, depth + 1));
  }
}

/** Paths whose key or primitive value contains the text, in the order of the tree. */
export function find(value: unknown, text: string, max = 1_000): string[] {
  const wanted = text.trim().toLowerCase();
  const found: string[] = [];
  if (wanted !== "") look(value, "", "");
  return found;

  function look(value: unknown, path: string, key: string) {
    if (found.length === max) return;
    const plain = sizeOf(value) === null ? textOf(value) : "";
    // A text with a dot is searched in paths, any other in the key: else it would match all paths below the key.
    const texts = [key, plain, wanted.includes(".") ? path : ""];
    if (texts.some((part) => part.toLowerCase().includes(wanted))) found.push(path);
    for (const [name, each] of entriesOf(value)) look(each, join(path, name), name);
  }
}

/** The ancestors of a path, which have to be open to show it. */
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

function isEmpty(value: unknown): boolean {
  return value === null || value === "" || sizeOf(value) === 0;
}

export function sizeOf(value: unknown): number | null {
  if (Array.isArray(value)) return value.length;
  return typeof value === "object" && value !== null ? Object.keys(value).length : null;
}

/** A value as the tree shows it: strings in quotes. */
export function textOf(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}

/** A path as JavaScript: `data.email_addresses[0].id`. */
export function expressionOf(path: string): string {
  return path
    .split(".")
    .map((name, index) => {
      if (/^\d+$/.test(name)) return `[${name}]`;
      if (!/^[\w$]+$/.test(name)) return `[${JSON.stringify(name)}]`;
      return index === 0 ? name : `.${name}`;
    })
    .join("");
}

/** A value as it is copied: strings without quotes, others as JSON. */
export function copyOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

function entriesOf(value: unknown): [string, unknown][] {
  return typeof value === "object" && value !== null ? Object.entries(value) : [];
}

function join(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}
