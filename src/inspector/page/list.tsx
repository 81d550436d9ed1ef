// The list of deliveries, newest first. It fills by itself at the top, goes on at the bottom, and holds a bounded number of
// rows however far somebody scrolls; what somebody reads does not move.

import { useComputed } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";

import { fits } from "./filter.ts";
import { Quiet } from "./quiet.tsx";
import { Row } from "./row.tsx";
import { arrived, heldCount, loading, loadNewer, loadNewest, loadOlder, looked, reading, rows } from "./rows.ts";
import { filter, narrowed, server } from "./state.ts";
import { count } from "./time.ts";

const COLUMNS = ["Time", "Type", "Subject", "Handlers", "Marks", "Duration", "Receipts"];
/** So far from an end, more is asked for. */
const AHEAD_PX = 600;

export function List() {
  const scroller = useRef<HTMLDivElement>(null);
  useSteadyRows(scroller);
  const { deliveries, newest } = rows.value;
  const quiet = deliveries.length === 0 && loading.value === null && looked.value === null;

  const toTop = () => {
    scroller.current?.scrollTo({ top: 0 });
    reading.value = false;
    void loadNewest(true);
  };
  const scrolled = () => {
    const { scrollTop = 0, scrollHeight = 0, clientHeight = 0 } = scroller.current ?? {};
    reading.value = scrollTop > 4 || !newest;
    if (scrollTop === 0 && newest && heldCount.value > 0 && looked.value === null) void loadNewest(true);
    else if (scrollTop < AHEAD_PX && !newest) void loadNewer();
    // Searching on is for the person to say: it may take a while.
    else if (scrollHeight - scrollTop - clientHeight < AHEAD_PX && looked.value === null) void loadOlder();
  };
  return (
    <section class="list" aria-label="Deliveries" aria-busy={loading.value !== null}>
      <h1 class="unseen">Deliveries</h1>
      <Held newest={newest} onTop={toTop} />
      <div class="scroller" ref={scroller} onScroll={scrolled}>
        {quiet && !narrowed(filter.value) && server.value ? (
          <Quiet server={server.value} />
        ) : (
          <>
            <table role="table">
              <caption class="unseen">Deliveries, newest first</caption>
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
                {deliveries.map((each) => (
                  <Row
                    key={each.id}
                    delivery={each}
                    fits={looked.value !== null || fits(filter.value, each, Date.now())}
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

/** What has come meanwhile, for somebody who reads further down. */
function Held({ newest, onTop }: { newest: boolean; onTop: () => void }) {
  const held = heldCount.value;
  if (newest && held === 0) return null;
  const says =
    held === 0
      ? "Back to the newest"
      : held === Infinity
        ? "New deliveries"
        : count(held, "new delivery", "new deliveries");
  return (
    <button type="button" class="held" onClick={onTop}>
      <span aria-hidden="true">↑</span> {says}
    </button>
  );
}

function Foot() {
  const { deliveries, next } = rows.value;
  const searched = looked.value;
  if (loading.value === "first") return <p class="foot">{searched === null ? "Loading…" : "Searching…"}</p>;
  if (searched !== null)
    return (
      <div class="foot">
        <p>
          {deliveries.length === 0 ? "Nothing found" : `${count(deliveries.length, "delivery", "deliveries")} shown`}:
          looked through {next === null ? "all" : "the newest"} {searched.toLocaleString("en")}
          {next === null ? " that there are." : "."}
        </p>
        {next !== null && <More says={loading.value === "older" ? "Searching…" : "Search on"} />}
      </div>
    );
  if (deliveries.length === 0) return <NothingFits />;
  return (
    <div class="foot">
      {next === null ? <p>That is all.</p> : <More says={loading.value === "older" ? "Loading…" : "Older"} />}
    </div>
  );
}

function More({ says }: { says: string }) {
  return (
    <button type="button" disabled={loading.value !== null} onClick={() => void loadOlder()}>
      {says}
    </button>
  );
}

function NothingFits() {
  return (
    <div class="foot">
      <p>Nothing is stored that fits.</p>
    </div>
  );
}

/** Said once in a while, and only how many: a busy server would talk without end. */
function Arrivals() {
  const says = useComputed(() =>
    arrived.value > 0 ? `${count(arrived.value, "new delivery", "new deliveries")} since you came` : "",
  );
  const shown = useRef("");
  const last = useRef(0);
  if (Date.now() - last.current > 15_000) {
    shown.current = says.value;
    last.current = Date.now();
  }
  return (
    <p class="unseen" role="status">
      {shown.current}
    </p>
  );
}

/** Keeps the first row that is seen where it is when rows come or go above it. */
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
