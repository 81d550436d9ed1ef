// One line of the payload's tree.

import { toMilliseconds } from "../../clerk/milliseconds.ts";
import { formatTime } from "../../duration.ts";
import { Copy } from "./components.tsx";
import { reveal } from "./opened.ts";
import { copyOf, expressionOf, textOf, type TreeRow } from "./tree.ts";

interface NodeProps {
  row: TreeRow;
  hidden: boolean;
  match: boolean;
  /** The current match of the search. */
  current: boolean;
  /** The tab key stops here. */
  isReachable: boolean;
  onToggle: () => void;
}

/** Its buttons are for the pointer: with the keyboard, the node itself is folded, and its value is copied as a whole. */
export function TreeNode({ row, hidden, match, current, isReachable, onToggle }: NodeProps) {
  const { path, depth, key, value, size, open } = row;
  const isFolder = size !== null && size > 0;
  const name = key === null ? null : <span class="faint">{key} </span>;
  return (
    <li
      role="treeitem"
      aria-level={depth + 1}
      aria-expanded={isFolder ? open : undefined}
      tabIndex={isReachable ? 0 : -1}
      data-path={path}
      class={`node${match ? " match" : ""}${current ? " current" : ""}`}
      style={{ paddingInlineStart: `${4 + depth * 16}px` }}
    >
      {isFolder ? (
        <button type="button" class="bare mono" tabIndex={-1} onClick={onToggle}>
          <span class="arrow faint" aria-hidden="true">
            {open ? "▾" : "▸"}
          </span>
          {name}
          <span class="faint">{describe(value, size)}</span>
        </button>
      ) : (
        <span class="leaf mono">
          {name}
          {hidden ? <Hidden /> : <Value value={value} />}
        </span>
      )}
      {!hidden && (
        <>
          <Copy text={() => copyOf(value)} what={path === "" ? "the whole" : `the value of ${path}`} isPointerOnly />
          {path !== "" && <Copy text={() => expressionOf(path)} what={`the path ${path}`} sign="." isPointerOnly />}
        </>
      )}
    </li>
  );
}

function Hidden() {
  return (
    <>
      <span title="Hidden: a code, a token or private metadata">•••</span>
      <button type="button" class="bare accent" tabIndex={-1} onClick={() => void reveal()}>
        Show
      </button>
    </>
  );
}

const TONES: Record<string, string> = { string: "good", number: "accent", boolean: "accent", null: "faint" };

function Value({ value }: { value: unknown }) {
  const kind = value === null ? "null" : typeof value;
  const when = momentOf(value);
  return (
    <>
      <span class={TONES[kind]}>{textOf(value)}</span>
      {when !== null && <span class="faint"> {when}</span>}
    </>
  );
}

function describe(value: unknown, size: number): string {
  return Array.isArray(value) ? `[${size}]` : `{${size}}`;
}

/** Numbers between 2001 and 2100 are shown as times. */
function momentOf(value: unknown): string | null {
  const milliseconds = Number.isInteger(value) ? toMilliseconds(value) : undefined;
  if (milliseconds === undefined || milliseconds < 1e12 || milliseconds > 4.1e12) return null;
  return formatTime(milliseconds);
}
