// One line of the payload's tree.

import { Copy } from "./components.tsx";
import { reveal } from "./opened.ts";
import { copyOf, textOf, type TreeRow } from "./tree.ts";

interface NodeProps {
  row: TreeRow;
  hidden: boolean;
  match: boolean;
  /** The current match of the search. */
  current: boolean;
  onToggle: () => void;
}

export function TreeNode({ row, hidden, match, current, onToggle }: NodeProps) {
  const { path, depth, key, value, size, open } = row;
  const name = key === null ? null : <span class="key">{key}</span>;
  return (
    <li
      data-path={path}
      class={`node${match ? " match" : ""}${current ? " current" : ""}`}
      style={{ paddingInlineStart: `${0.25 + depth * 1.1}rem` }}
    >
      {size === null || size === 0 ? (
        <span class="leaf">
          {name}
          {hidden ? <Hidden /> : <Value value={value} />}
        </span>
      ) : (
        <button type="button" class="fold" aria-expanded={open} onClick={onToggle}>
          <span class="arrow" aria-hidden="true">
            {open ? "▾" : "▸"}
          </span>
          {name}
          <span class="faint">{describe(value, size)}</span>
        </button>
      )}
      {!hidden && <Copy text={() => copyOf(value)} what={path === "" ? "the whole" : path} />}
    </li>
  );
}

function Hidden() {
  return (
    <>
      <span class="masked" title="Hidden: a code, a token or private metadata">
        •••
      </span>
      <button type="button" class="link" onClick={() => void reveal()}>
        Show
      </button>
    </>
  );
}

function Value({ value }: { value: unknown }) {
  const kind = value === null ? "null" : typeof value;
  const when = momentOf(value);
  return (
    <>
      <span class={`value ${kind}`}>{textOf(value)}</span>
      {when !== null && <span class="faint"> {when}</span>}
    </>
  );
}

function describe(value: unknown, size: number): string {
  return Array.isArray(value) ? `[${size}]` : `{${size}}`;
}

/** Clerk's times are milliseconds, sometimes seconds. Numbers between 2001 and 2100 are shown as times. */
function momentOf(value: unknown): string | null {
  if (typeof value !== "number" || !Number.isInteger(value)) return null;
  const milliseconds = value < 1e11 ? value * 1_000 : value;
  if (milliseconds < 1e12 || milliseconds > 4.1e12) return null;
  return new Date(milliseconds)
    .toISOString()
    .replace("T", " ")
    .replace(/\.\d+Z$/, "Z");
}
