// Replays what the list shows: first the count, then a confirmation, then the progress.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { endedRuns } from "../../api/bulk-replay.ts";
import { deadHandlers } from "../../api/latest-runs.ts";
import type { DeliverySummary, ReplayCount } from "../../api/types.ts";
import { count } from "../../count.ts";
import { api } from "./api.ts";
import { describeFilter, planOf } from "./bulk-plan.ts";
import { type BulkProgress, progress, runQuery, runRows, stop } from "./bulk-run.ts";
import { Dialog } from "./dialog.tsx";
import { rows } from "./rows.ts";
import { attempt, dialog, filter } from "./state.ts";

export function Bulk() {
  const running = progress.value;
  return <Dialog title="Replay what the list shows">{running ? <Progress progress={running} /> : <Question />}</Dialog>;
}

function Question() {
  // Resolve times like `1h` once, so that the count and the replay select the same deliveries.
  const plan = useSignal(planOf(filter.peek(), Date.now())).value;
  return (
    <>
      <p class="faint">Of {describeFilter(filter.peek())}.</p>
      {plan.by === "query" ? <ByQuery query={plan.query} onlyDead={plan.dead} /> : <ByRows />}
    </>
  );
}

/** By default only dead runs: replaying a successful one would repeat its effects outside of `db`. */
function ByQuery({ query, onlyDead }: { query: Record<string, string>; onlyDead: boolean }) {
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
      <p class="choices">
        <label>
          <input
            type="checkbox"
            checked={!dead.value}
            disabled={onlyDead}
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
        more={many?.more ?? false}
        what="run"
        onYes={() => void attempt(() => runQuery(selection))}
      />
    </>
  );
}

function Counted({ found: { found, more, stale, wiped, gone } }: { found: ReplayCount }) {
  const left = [
    stale > 0 && `${stale.toLocaleString("en")} stale`,
    wiped > 0 && `${wiped.toLocaleString("en")} without a payload`,
    gone > 0 && `${gone.toLocaleString("en")} of handlers that no longer exist`,
  ].filter(Boolean);
  return (
    <p role="status">
      <b>
        {more && "More than "}
        {count(found, "run")}
      </b>
      {left.length > 0 && `. Left out: ${left.join(", ")}.`}
    </p>
  );
}

function ByRows() {
  const dead = useSignal(true);
  const { deliveries } = rows.value;
  const { handler } = filter.peek();
  const isWanted = ({ runs }: DeliverySummary) =>
    deadHandlers(runs).some((name) => handler === undefined || name === handler);
  const ids = deliveries
    .filter(({ wiped }) => !wiped)
    .filter((delivery) => !dead.value || isWanted(delivery))
    .map(({ id }) => id);
  const which = { ...(handler !== undefined && { handler }), ...(dead.value && { dead: true }) };
  return (
    <>
      <p>
        <b>{count(ids.length, "delivery", "deliveries")}</b>: the rows that the list has loaded. A bulk replay can't
        filter by text, id, or a state other than dead, so further rows are not included. It stops when this page is
        closed.
      </p>
      <p class="choices">
        <label>
          <input type="checkbox" checked={!dead.value} onChange={() => (dead.value = !dead.value)} /> Also runs that
          succeeded
        </label>
      </p>
      <Confirm
        number={ids.length}
        more={false}
        what="delivery"
        onYes={() => void attempt(() => runRows(ids.toReversed(), which))}
      />
    </>
  );
}

function Confirm(props: { number: number; more: boolean; what: "run" | "delivery"; onYes: () => void }) {
  const { number, more, what, onYes } = props;
  const amount = what === "run" ? count(number, "run") : count(number, "delivery", "deliveries");
  return (
    <footer>
      <p class="faint">Live deliveries run first. Effects outside of db are repeated.</p>
      <button type="button" onClick={() => (dialog.value = null)}>
        Cancel
      </button>
      <button type="button" class="primary" disabled={number === 0} onClick={onYes}>
        {number === 0 ? "Nothing to replay" : `Replay ${more ? "all of them" : amount}`}
      </button>
    </footer>
  );
}

function Progress({ progress: { added, isAdding, runs, isStopped, isFinished, refused } }: { progress: BulkProgress }) {
  const ended = endedRuns(runs);
  const close = () => {
    progress.value = null;
    dialog.value = null;
  };
  return (
    <>
      <p role="status">
        <b>{isAdding ? `Adding runs: ${added.toLocaleString("en")} so far` : `${count(added, "run")} added`}</b>
        {isStopped && ", then stopped"}
      </p>
      <progress
        max={Math.max(1, added)}
        {...(isFinished ? { value: Math.max(1, added) } : isAdding ? {} : { value: ended })}
      />
      <p class="faint">
        {ended > 0 &&
          `${runs.done.toLocaleString("en")} done, ${runs.dead.toLocaleString("en")} dead, ${runs.skipped.toLocaleString("en")} skipped`}
        {runs.waiting > 0 && `, ${runs.waiting.toLocaleString("en")} waiting`}
      </p>
      {refused.reason !== "" && (
        <p class="bad">
          {refused.number > 0
            ? `${count(refused.number, "delivery", "deliveries")} could not be replayed: ${refused.reason}`
            : `It ended early: ${refused.reason}`}
        </p>
      )}
      <footer>
        {!isFinished && isAdding && (
          <button type="button" disabled={isStopped} onClick={stop}>
            Stop adding
          </button>
        )}
        <button type="button" class="primary" onClick={isFinished ? close : () => (dialog.value = null)}>
          {isFinished ? "Close" : "Continue in the background"}
        </button>
      </footer>
    </>
  );
}
