// The payload as a tree, with folding, search and copy. Redacted values are shown on request.
// Rendered as text only, never as HTML.

import { useSignal } from "@preact/signals";
import { useMemo, useRef } from "preact/hooks";

import type { DeliveryJson } from "../../api/types.ts";
import { count } from "../../count.ts";
import { Copy } from "./components.tsx";
import { reveal, revealed } from "./opened.ts";
import { TreeNode } from "./tree-node.tsx";
import { find, openAll, type Opened, openTo, rowsOf, type TreeRow } from "./tree.ts";

const ROWS_AT_ONCE = 400;

export function Payload({ delivery }: { delivery: DeliveryJson }) {
  const { payload, hidden = [] } = delivery;
  return (
    <section class="payload stack" aria-labelledby="payload-heading">
      <h2 id="payload-heading" tabIndex={-1}>
        Payload
      </h2>
      {payload === null || payload === undefined ? (
        <p class="faint">The payload is deleted: it contained a one-time code, or is older than RETENTION_DAYS.</p>
      ) : (
        <>
          {hidden.length > 0 && (
            <p>
              {count(hidden.length, "value is", "values are")} hidden: codes, tokens or private metadata.{" "}
              <button type="button" onClick={() => void reveal()}>
                Show
              </button>
            </p>
          )}
          {revealed.value && <p>Everything is shown, codes and tokens included.</p>}
          <Tree text={payload} hidden={hidden} />
        </>
      )}
    </section>
  );
}

function Tree({ text, hidden }: { text: string; hidden: readonly string[] }) {
  const value = parse(text);
  const opened = useSignal<Opened>(new Map());
  const query = useSignal("");
  const limit = useSignal(ROWS_AT_ONCE);
  const withEmpty = useSignal(false);
  const at = useSignal(0);
  const focused = useSignal("");
  const box = useRef<HTMLDivElement>(null);
  // The text changes when hidden values are shown.
  const found = useMemo(() => find(value, query.value), [text, query.value]);
  const isSearching = query.value !== "";
  const unfolded = isSearching ? openTo(opened.value, found) : opened.value;
  const { rows, more, empty } = rowsOf(value, unfolded, limit.value, withEmpty.value || isSearching);
  const matches = new Set(found);
  const current = found[at.value];
  const reachable = rows.some(({ path }) => path === focused.value) ? focused.value : "";

  const show = (path: string, move: (node: Element) => void) =>
    setTimeout(() => {
      const node = box.current?.querySelector(`[data-path="${CSS.escape(path)}"]`);
      if (node) move(node);
    });
  const step = (by: number) => {
    const { length } = found;
    if (length === 0) return;
    at.value = (at.value + by + length) % length;
    const path = found[at.value] ?? "";
    if (!rows.some((row) => row.path === path)) limit.value = Infinity;
    show(path, (node) => node.scrollIntoView({ block: "center" }));
  };
  const toggle = (row: TreeRow) => (opened.value = new Map(opened.value).set(row.path, !row.open));
  const focus = (path: string | undefined) => {
    if (path === undefined) return;
    focused.value = path;
    show(path, (node) => (node as HTMLElement).focus());
  };
  /** One stop for the tab key; arrows move between the nodes. */
  const onKeyDown = (event: KeyboardEvent) => {
    const index = rows.findIndex(({ path }) => path === reachable);
    const row = rows[index];
    if (!row || !(event.target as Element).matches("[role=treeitem]")) return;
    const parent = row.path.split(".").slice(0, -1).join(".");
    const keys: Record<string, () => unknown> = {
      ArrowDown: () => focus(rows[index + 1]?.path),
      ArrowUp: () => focus(rows[index - 1]?.path),
      ArrowRight: () => (row.size && !row.open ? toggle(row) : focus(rows[index + 1]?.path)),
      ArrowLeft: () => (row.size && row.open ? toggle(row) : focus(parent)),
      Enter: () => row.size && toggle(row),
      Home: () => focus(rows[0]?.path),
      End: () => focus(rows.at(-1)?.path),
    };
    const work = keys[event.key];
    if (!work) return;
    event.preventDefault();
    work();
  };
  return (
    <div class="tree stack tight" ref={box}>
      <div class="row tight">
        <input
          type="search"
          aria-label="Search the payload"
          placeholder="Search the payload"
          spellcheck={false}
          value={query.value}
          onInput={({ currentTarget }) => {
            query.value = currentTarget.value;
            at.value = 0;
          }}
          onKeyDown={(event) => {
            if (event.key === "Enter") step(event.shiftKey ? -1 : 1);
          }}
        />
        {isSearching && (
          <span class="faint" role="status">
            {found.length === 0 ? "not found" : `${at.value + 1} of ${found.length}`}
          </span>
        )}
        <button type="button" class="subtle" onClick={() => (opened.value = openAll(value, true))}>
          Unfold
        </button>
        <button type="button" class="subtle" onClick={() => (opened.value = openAll(value, false))}>
          Fold
        </button>
        {(empty > 0 || withEmpty.value) && !isSearching && (
          <button type="button" class="subtle" onClick={() => (withEmpty.value = !withEmpty.value)}>
            {withEmpty.value ? "Hide empty fields" : `Show ${count(empty, "empty field")}`}
          </button>
        )}
        <Copy text={() => JSON.stringify(value, null, 2)} what="the payload" />
      </div>
      <ul role="tree" aria-label="Payload" onKeyDown={onKeyDown}>
        {rows.map((row) => (
          <TreeNode
            key={row.path}
            row={row}
            hidden={hidden.includes(row.path)}
            match={matches.has(row.path)}
            current={row.path === current}
            isReachable={row.path === reachable}
            onToggle={() => toggle(row)}
          />
        ))}
      </ul>
      {more && (
        <button type="button" onClick={() => (limit.value += ROWS_AT_ONCE)}>
          Show more
        </button>
      )}
    </div>
  );
}

/** A payload that is not JSON is shown as plain text. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
