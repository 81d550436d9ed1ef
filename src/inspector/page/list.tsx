// The list of deliveries, newest first. Older ones load at the bottom, new ones appear at the top unless rows must not
// move; then a button counts them.

import { useComputed } from "@preact/signals";
import type { VNode } from "preact";
import { useRef } from "preact/hooks";

import type { ListedDelivery } from "../../api/types.ts";
import { count } from "../../count.ts";
import { EmptyState } from "./empty-state.tsx";
import { Failed } from "./remote.tsx";
import { Row } from "./row.tsx";
import {
  arrived,
  heldCount,
  loading,
  loadNewest,
  loadOlder,
  MAX_ROWS,
  pointing,
  reading,
  release,
  rows,
  searched,
  stopSearch,
  trouble,
} from "./rows.ts";
import { filter, isPaused, narrow, narrowed, NOTHING, server } from "./state.ts";

const COLUMNS = ["Time", "Event", "Who", "Runs", "Error", "Duration"];
/** The distance from the end at which more rows are loaded. */
const AHEAD_PX = 600;

export function List() {
  const scroller = useRef<HTMLDivElement>(null);
  const { deliveries, newest } = rows.value;
  const isEmpty =
    deliveries.length === 0 && loading.value === null && searched.value === null && trouble.value === null;

  const toTop = () => {
    scroller.current?.scrollTo({ top: 0 });
    reading.value = false;
    isPaused.value = false;
    void loadNewest();
  };
  const scrolled = () => {
    const { scrollTop = 0, scrollHeight = 0, clientHeight = 0 } = scroller.current ?? {};
    reading.value = scrollTop > 4;
    if (scrollTop === 0 && heldCount.value > 0) release();
    // A search continues only on request, because it may take long. So does a list that would lose its first rows.
    else if (
      scrollHeight - scrollTop - clientHeight < AHEAD_PX &&
      searched.value === null &&
      deliveries.length < MAX_ROWS
    )
      void loadOlder();
  };
  return (
    <section class="list" aria-label="Deliveries" aria-busy={loading.value !== null}>
      <h1 class="visually-hidden">Deliveries</h1>
      <Held newest={newest} onTop={toTop} />
      <div
        class="scroller"
        ref={scroller}
        onScroll={scrolled}
        onPointerEnter={({ pointerType }) => (pointing.value = pointerType === "mouse")}
        onPointerLeave={release}
      >
        {isEmpty && !narrowed(filter.value) && server.value ? (
          <EmptyState server={server.value} />
        ) : (
          <>
            <table role="table">
              <caption class="visually-hidden">Deliveries, newest first</caption>
              <thead role="rowgroup">
                <tr role="row" class="stuck">
                  {COLUMNS.map((name) => (
                    <th key={name} role="columnheader" scope="col">
                      {name}
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody role="rowgroup">{deliveries.map(rowOf)}</tbody>
            </table>
            <Foot />
          </>
        )}
      </div>
      <Arrivals />
    </section>
  );
}

/** An unchanged delivery keeps its element, so that a message of the feed renders only the rows that it changes. */
const rendered = new WeakMap<ListedDelivery, VNode>();

function rowOf(delivery: ListedDelivery): VNode {
  const known = rendered.get(delivery) ?? <Row key={delivery.id} delivery={delivery} />;
  rendered.set(delivery, known);
  return known;
}

/** A button with the number of new rows, while rows must not move. */
function Held({ newest, onTop }: { newest: boolean; onTop: () => void }) {
  const held = heldCount.value;
  if (newest && held === 0) return null;
  const label =
    held === 0
      ? "Back to the newest"
      : held === Infinity
        ? "New deliveries"
        : count(held, "new delivery", "new deliveries");
  return (
    <button type="button" class="held pill" onClick={onTop}>
      <span aria-hidden="true">↑</span> {label}
    </button>
  );
}

function Foot() {
  const { deliveries, next } = rows.value;
  const total = searched.value;
  if (trouble.value !== null) return <Failed what="The list" why={trouble.value} retry={() => loadNewest()} />;
  if (total !== null) return <SearchFoot total={total} />;
  if (loading.value === "first") return <p class="foot row pad faint">Loading…</p>;
  if (deliveries.length === 0) return <NothingFits />;
  return (
    <div class="foot row pad faint">
      {next === null ? <p>No more deliveries.</p> : <More label={loading.value === "older" ? "Loading…" : "Older"} />}
    </div>
  );
}

function SearchFoot({ total }: { total: number }) {
  const { deliveries, next } = rows.value;
  const isSearching = loading.value !== null;
  return (
    <div class="foot row pad faint">
      <p role="status">
        {isSearching
          ? "Searching"
          : deliveries.length === 0
            ? "Nothing found"
            : `${count(deliveries.length, "delivery", "deliveries")} found`}
        : searched {next === null && !isSearching ? "all" : "the newest"} {total.toLocaleString("en")}.
      </p>
      {isSearching ? (
        <button type="button" onClick={stopSearch}>
          Stop
        </button>
      ) : (
        next !== null && <More label="Search further" />
      )}
    </div>
  );
}

function More({ label }: { label: string }) {
  return (
    <button type="button" disabled={loading.value !== null} onClick={() => void loadOlder()}>
      {label}
    </button>
  );
}

function NothingFits() {
  return (
    <div class="foot row pad faint">
      <p>No stored delivery matches these filters.</p>
      <button type="button" onClick={() => narrow(NOTHING)}>
        Clear filters
      </button>
    </div>
  );
}

/** Announces the number of new rows now and then: one announcement per row would never end on a busy server. */
function Arrivals() {
  const label = useComputed(() =>
    arrived.value > 0 ? `${count(arrived.value, "new delivery", "new deliveries")} since you opened the page` : "",
  );
  const shown = useRef("");
  const last = useRef(0);
  if (Date.now() - last.current > 15_000) {
    shown.current = label.value;
    last.current = Date.now();
  }
  return (
    <p class="visually-hidden" role="status">
      {shown.current}
    </p>
  );
}
