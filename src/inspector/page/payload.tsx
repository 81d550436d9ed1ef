// The payload as a tree, with folding, search and copy. Redacted values are shown on request.
// Rendered as text only, never as HTML.

import { useComputed, useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";

import type { DeliveryJson } from "../../api/types.ts";
import { count } from "../../count.ts";
import { Copy } from "./components.tsx";
import { reveal, revealed } from "./opened.ts";
import { TreeNode } from "./tree-node.tsx";
import { find, openAll, type Opened, openTo, rowsOf } from "./tree.ts";

const ROWS_AT_ONCE = 400;

export function Payload({ delivery }: { delivery: DeliveryJson }) {
  const { payload, hidden = [] } = delivery;
  return (
    <section class="payload" aria-labelledby="payload-heading">
      <h2 id="payload-heading">Payload</h2>
      {payload === null || payload === undefined ? (
        <p class="faint">The payload is deleted: it contained a one-time code, or is older than RETENTION_DAYS.</p>
      ) : (
        <>
          {hidden.length > 0 && (
            <p class="hidden-note">
              {count(hidden.length, "value is", "values are")} hidden: codes, tokens or private metadata.{" "}
              <button type="button" onClick={() => void reveal()}>
                Show
              </button>
            </p>
          )}
          {revealed.value && <p class="hidden-note">Everything is shown, codes and tokens included.</p>}
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
  const at = useSignal(0);
  const box = useRef<HTMLDivElement>(null);
  const found = useComputed(() => find(parse(text), query.value));
  const { rows, more } = rowsOf(
    value,
    query.value === "" ? opened.value : openTo(opened.value, found.value),
    limit.value,
  );
  const matches = new Set(found.value);
  const current = found.value[at.value];

  const step = (by: number) => {
    const { length } = found.value;
    if (length === 0) return;
    at.value = (at.value + by + length) % length;
    const path = found.value[at.value] ?? "";
    if (!rows.some((row) => row.path === path)) limit.value = Infinity;
    setTimeout(() =>
      box.current?.querySelector(`[data-path="${CSS.escape(path)}"]`)?.scrollIntoView({ block: "center" }),
    );
  };
  return (
    <div class="tree" ref={box}>
      <div class="tools">
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
        {query.value !== "" && (
          <span class="faint" role="status">
            {found.value.length === 0 ? "not found" : `${at.value + 1} of ${found.value.length}`}
          </span>
        )}
        <button type="button" class="subtle" onClick={() => (opened.value = openAll(value, true))}>
          Unfold
        </button>
        <button type="button" class="subtle" onClick={() => (opened.value = openAll(value, false))}>
          Fold
        </button>
        <Copy text={() => JSON.stringify(value, null, 2)} what="the payload" />
      </div>
      <ul class="nodes" aria-label="Payload">
        {rows.map((row) => (
          <TreeNode
            key={row.path}
            row={row}
            hidden={hidden.includes(row.path)}
            match={matches.has(row.path)}
            current={row.path === current}
            onToggle={() => (opened.value = new Map(opened.value).set(row.path, !row.open))}
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
