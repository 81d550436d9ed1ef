// The list of deliveries, newest first. New rows appear at the top, older ones load at the bottom, and their number is
// bounded. Rows that the user reads do not move.

import { useComputed } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";

import { count } from "../../count.ts";
import { EmptyState } from "./empty-state.tsx";
import { fits } from "./filter.ts";
import { Row } from "./row.tsx";
import {
  arrived,
  failed,
  heldCount,
  loading,
  loadNewer,
  loadNewest,
  loadOlder,
  pointing,
  reading,
  release,
  rows,
  searched,
} from "./rows.ts";
import { filter, narrowed, server } from "./state.ts";

const COLUMNS = ["Time", "Type", "Subject", "Handlers", "Marks", "Duration", "Receipts"];
/** The distance from either end at which more rows are loaded. */
const AHEAD_PX = 600;

export function List() {
  const scroller = useRef<HTMLDivElement>(null);
  useSteadyRows(scroller);
  const { deliveries, newest } = rows.value;
  const isEmpty = deliveries.length === 0 && loading.value === null && searched.value === null && !failed.value;

  const toTop = () => {
    scroller.current?.scrollTo({ top: 0 });
    reading.value = false;
    void loadNewest(true);
  };
  const scrolled = () => {
    const { scrollTop = 0, scrollHeight = 0, clientHeight = 0 } = scroller.current ?? {};
    reading.value = scrollTop > 4 || !newest;
    if (scrollTop === 0 && newest && heldCount.value > 0 && searched.value === null) void loadNewest(true);
    else if (scrollTop < AHEAD_PX && !newest) void loadNewer();
    // A search continues only on request, because it may take long.
    else if (scrollHeight - scrollTop - clientHeight < AHEAD_PX && searched.value === null) void loadOlder();
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
                <tr role="row">
                  {COLUMNS.map((name) => (
                    <th key={name} role="columnheader" scope="col" class={`column-${name.toLowerCase()}`}>
                      {name}
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody role="rowgroup">
                {deliveries.map((delivery) => (
                  <Row
                    key={delivery.id}
                    delivery={delivery}
                    fits={searched.value !== null || fits(filter.value, delivery, Date.now())}
                  />
                ))}
              </tbody>
            </table>
            <Foot />
          </>
        )}
      </div>
      <Arrivals />
    </section>
  );
}

/** A button with the number of new rows, while the user reads further down. */
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
    <button type="button" class="held" onClick={onTop}>
      <span aria-hidden="true">↑</span> {label}
    </button>
  );
}

function Foot() {
  const { deliveries, next } = rows.value;
  const total = searched.value;
  if (loading.value === "first") return <p class="foot">{total === null ? "Loading…" : "Searching…"}</p>;
  if (total !== null)
    return (
      <div class="foot">
        <p>
          {deliveries.length === 0 ? "Nothing found" : `${count(deliveries.length, "delivery", "deliveries")} shown`}:
          searched {next === null ? "all" : "the newest"} {total.toLocaleString("en")}.
        </p>
        {next !== null && <More label={loading.value === "older" ? "Searching…" : "Search further"} />}
      </div>
    );
  if (failed.value) return <NotLoaded />;
  if (deliveries.length === 0) return <NothingFits />;
  return (
    <div class="foot">
      {next === null ? <p>No more deliveries.</p> : <More label={loading.value === "older" ? "Loading…" : "Older"} />}
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

function NotLoaded() {
  return (
    <div class="foot">
      <p class="bad">The list could not be loaded.</p>
      <button type="button" onClick={() => void loadNewest(true)}>
        Retry
      </button>
    </div>
  );
}

function NothingFits() {
  return (
    <div class="foot">
      <p>No stored delivery matches.</p>
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

/** Keeps the first visible row in place when rows above it appear or disappear. */
function useSteadyRows(scroller: { current: HTMLDivElement | null }) {
  const anchor = useRef<{ id: string; top: number } | null>(null);
  useLayoutEffect(() => {
    const { current: box } = scroller;
    const kept = anchor.current;
    if (!box || !kept || box.scrollTop <= 4) return;
    const row = box.querySelector(`[data-row="${CSS.escape(kept.id)}"]`);
    if (row) box.scrollTop += row.getBoundingClientRect().top - kept.top;
  }, [rows.value]);
  useEffect(() => {
    const { current: box } = scroller;
    if (!box) return undefined;
    const remember = () => {
      const top = box.getBoundingClientRect().top;
      const first = [...box.querySelectorAll("[data-row]")].find((row) => row.getBoundingClientRect().top >= top);
      anchor.current = first
        ? { id: first.getAttribute("data-row") ?? "", top: first.getBoundingClientRect().top }
        : null;
    };
    remember();
    box.addEventListener("scroll", remember, { passive: true });
    return () => box.removeEventListener("scroll", remember);
  }, [rows.value]);
}
