// Replays what the list shows: first the count, then a confirmation. Above 100 runs, or when runs repeat that succeeded, the
// number has to be typed.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { deadHandlers } from "../../api/latest-runs.ts";
import type { ReplayCount } from "../../api/types.ts";
import { count } from "../../count.ts";
import { api } from "./api.ts";
import { startQuery, startRows } from "./bulk-job.ts";
import { Dialog } from "./dialog.tsx";
import { describeFilter, type Filter, toQuery } from "./filter.ts";
import { rows } from "./rows.ts";
import { attempt, dialog, filter } from "./state.ts";

/** Up to here a click is enough, as for the server (`src/api/bulk-confirmation.ts`). */
export const MAX_WITHOUT_TYPING = 100;

export function Bulk() {
  // Resolve times like `1h` once, so that the count and the replay select the same deliveries.
  const query = useSignal(queryOf(filter.peek(), Date.now())).value;
  return (
    <Dialog title="Replay these">
      <p class="faint">All deliveries of: {describeFilter(filter.peek())}.</p>
      {query ? <ByQuery query={query} /> : <ByRows />}
    </Dialog>
  );
}

/**
 * Pure: what the server selects by itself, or null. A bulk replay can't search for text; by another state than `dead` it
 * would select handlers, not deliveries.
 */
export function queryOf({ text, id, state, ...rest }: Filter, now: number): Record<string, string> | null {
  if (text || id || (state && state !== "dead")) return null;
  return { ...toQuery(rest, now), ...(state && { state }) };
}

/** By default only dead runs: replaying a successful one would repeat its effects outside of `db`. */
function ByQuery({ query: { state, ...query } }: { query: Record<string, string> }) {
  const dead = useSignal(true);
  const stale = useSignal(false);
  const found = useSignal<ReplayCount | null>(null);
  const selection = { ...query, ...(dead.value && { state: "dead" }), stale: stale.value };
  useEffect(() => {
    const controller = new AbortController();
    found.value = null;
    void attempt(async () => {
      found.value = await api.countReplay(selection, controller.signal);
    });
    return () => controller.abort();
  }, [dead.value, stale.value]);
  const many = found.value;
  return (
    <>
      {many ? <Counted found={many} /> : <p role="status">Counting…</p>}
      <p class="start stack">
        <label>
          <input
            type="checkbox"
            checked={!dead.value}
            disabled={state === "dead"}
            onChange={() => (dead.value = !dead.value)}
          />{" "}
          Also runs that succeeded
        </label>
        <label>
          <input type="checkbox" checked={stale.value} onChange={() => (stale.value = !stale.value)} /> Also stale runs:
          a later event of their subject is done
        </label>
      </p>
      <Confirm
        number={many?.found ?? 0}
        what="run"
        repeats={!dead.value}
        onYes={() => startQuery(selection, many?.found ?? 0)}
      />
    </>
  );
}

function Counted({ found: { found, stale, wiped, gone } }: { found: ReplayCount }) {
  const left = [
    stale > 0 && `${stale.toLocaleString("en")} stale`,
    wiped > 0 && `${wiped.toLocaleString("en")} without a payload`,
    gone > 0 && `${gone.toLocaleString("en")} of handlers that no longer exist`,
  ].filter(Boolean);
  return (
    <p role="status">
      <b>{count(found, "run")}</b>
      {left.length > 0 && `. Left out: ${left.join(", ")}.`}
    </p>
  );
}

function ByRows() {
  const dead = useSignal(true);
  const { handler } = filter.peek();
  const ids = rows.value.deliveries
    .filter(({ wiped }) => !wiped)
    .filter(({ runs }) => !dead.value || deadHandlers(runs).some((name) => handler === undefined || name === handler))
    .map(({ id }) => id);
  const which = { ...(handler !== undefined && { handler }), ...(dead.value && { dead: true }) };
  return (
    <>
      <p>
        <b>{count(ids.length, "delivery", "deliveries")}</b>: the rows that the list has loaded. A bulk replay can't
        filter by text, id, or a state other than dead, so further rows are not included.
      </p>
      <p class="start stack">
        <label>
          <input type="checkbox" checked={!dead.value} onChange={() => (dead.value = !dead.value)} /> Also runs that
          succeeded
        </label>
      </p>
      <Confirm
        number={ids.length}
        what="delivery"
        repeats={!dead.value}
        onYes={() => startRows(ids.toReversed(), which)}
      />
    </>
  );
}

interface ConfirmProps {
  number: number;
  what: "run" | "delivery";
  repeats: boolean;
  onYes: () => Promise<unknown>;
  onNo?: () => void;
}

const closeDialog = () => {
  dialog.value = null;
};

export function Confirm({ number, what, repeats, onYes, onNo = closeDialog }: ConfirmProps) {
  const typed = useSignal("");
  const amount = what === "run" ? count(number, "run") : count(number, "delivery", "deliveries");
  const mustType = number > MAX_WITHOUT_TYPING || (repeats && number > 1);
  const isSure = !mustType || typed.value.replaceAll(/[,.\s]/g, "") === String(number);
  return (
    <form
      class="stack loose"
      onSubmit={(event) => {
        event.preventDefault();
        onNo();
        void attempt(async () => void (await onYes()));
      }}
    >
      {mustType && (
        <label class="row">
          To confirm, type {number}
          <input
            inputMode="numeric"
            size={6}
            autocomplete="off"
            value={typed.value}
            onInput={({ currentTarget }) => (typed.value = currentTarget.value)}
          />
        </label>
      )}
      <footer class="row">
        <p class="grow faint">It runs on the server, also when this page is closed. Live deliveries run first.</p>
        <button type="button" onClick={onNo}>
          Cancel
        </button>
        <button type="submit" class="primary" disabled={number === 0 || !isSure}>
          {number === 0 ? "Nothing to replay" : `Replay ${amount}`}
        </button>
      </footer>
    </form>
  );
}
