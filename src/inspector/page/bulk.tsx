// Runs again what the list shows: the count first, then a question, then the progress.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import type { Replayable } from "../../inbox/queries.ts";
import { api } from "./api.ts";
import { describeFilter, ended, planOf } from "./bulk-plan.ts";
import { type BulkProgress, progress, runQuery, runRows, stop } from "./bulk-run.ts";
import { Dialog } from "./dialog.tsx";
import { rows } from "./rows.ts";
import { attempt, dialog, filter } from "./state.ts";
import { count } from "./time.ts";

export function Bulk() {
  const running = progress.value;
  return <Dialog title="Replay what the list shows">{running ? <Going progress={running} /> : <Question />}</Dialog>;
}

function Question() {
  // A moment like `1h` must not move between the count and the runs.
  const plan = useSignal(planOf(filter.peek(), Date.now())).value;
  return (
    <>
      <p class="faint">Of {describeFilter(filter.peek())}.</p>
      {plan.by === "query" ? <ByQuery query={plan.query} dead={plan.dead} /> : <ByRows />}
    </>
  );
}

function ByQuery({ query, dead: onlyDead }: { query: Record<string, string>; dead: boolean }) {
  const dead = useSignal(onlyDead);
  const stale = useSignal(false);
  const found = useSignal<Replayable | null>(null);
  const asked = { ...query, dead: dead.value, stale: stale.value };
  useEffect(() => {
    const controller = new AbortController();
    found.value = null;
    void attempt(async () => {
      found.value = await api.replayable(asked, controller.signal);
    });
    return () => controller.abort();
  }, [dead.value, stale.value]);
  const many = found.value;
  return (
    <>
      {many ? <Counted found={many} /> : <p role="status">Counting…</p>}
      <p class="choices">
        <label>
          <input type="checkbox" checked={dead.value} disabled={onlyDead} onChange={() => (dead.value = !dead.value)} />{" "}
          Only runs that are dead
        </label>
        <label>
          <input type="checkbox" checked={stale.value} onChange={() => (stale.value = !stale.value)} /> Stale ones too:
          a later event of their subject is done
        </label>
      </p>
      <Confirm
        number={many?.found ?? 0}
        more={many?.more ?? false}
        what="run"
        onYes={() => void attempt(() => runQuery(asked))}
      />
    </>
  );
}

function Counted({ found: { found, more, stale, wiped, gone } }: { found: Replayable }) {
  const left = [
    stale > 0 && `${stale.toLocaleString("en")} stale`,
    wiped > 0 && `${wiped.toLocaleString("en")} without a payload`,
    gone > 0 && `${gone.toLocaleString("en")} of handlers that there are no more`,
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
  const { deliveries } = rows.value;
  const ids = deliveries.filter(({ wiped }) => !wiped).map(({ id }) => id);
  const { handler } = filter.peek();
  return (
    <>
      <p>
        <b>{count(ids.length, "delivery", "deliveries")}</b>: the rows that the list has loaded. Text, an id, or a state
        other than dead can't be asked for in bulk, so further rows are not among them.
      </p>
      <Confirm
        number={ids.length}
        more={false}
        what="delivery"
        onYes={() => void attempt(() => runRows(ids.toReversed(), handler))}
      />
    </>
  );
}

function Confirm(props: { number: number; more: boolean; what: "run" | "delivery"; onYes: () => void }) {
  const { number, more, what, onYes } = props;
  const words = what === "run" ? count(number, "run") : count(number, "delivery", "deliveries");
  return (
    <footer>
      <p class="faint">Live deliveries go first. What handlers do elsewhere than in db is done again.</p>
      <button type="button" onClick={() => (dialog.value = null)}>
        Cancel
      </button>
      <button type="button" class="primary" disabled={number === 0} onClick={onYes}>
        {number === 0 ? "Nothing to replay" : `Replay ${more ? "all of them" : words}`}
      </button>
    </footer>
  );
}

function Going({ progress: { added, adding, states, stopped, over, refused } }: { progress: BulkProgress }) {
  const done = ended(states);
  const close = () => {
    progress.value = null;
    dialog.value = null;
  };
  return (
    <>
      <p role="status">
        <b>{adding ? `Adding runs: ${added.toLocaleString("en")} so far` : `${count(added, "run")} added`}</b>
        {stopped && ", then stopped"}
      </p>
      <progress max={Math.max(1, added)} {...(over ? { value: Math.max(1, added) } : adding ? {} : { value: done })} />
      <p class="faint">
        {done > 0 &&
          `${states.done.toLocaleString("en")} done, ${states.dead.toLocaleString("en")} dead, ${states.skipped.toLocaleString("en")} skipped`}
        {states.waiting > 0 && `, ${states.waiting.toLocaleString("en")} waiting`}
      </p>
      {refused.number > 0 && (
        <p class="bad">
          {count(refused.number, "delivery", "deliveries")} could not be replayed: {refused.reason}
        </p>
      )}
      <footer>
        {!over && adding && (
          <button type="button" disabled={stopped} onClick={stop}>
            Stop adding
          </button>
        )}
        <button type="button" class="primary" onClick={over ? close : () => (dialog.value = null)}>
          {over ? "Close" : "Go on in the background"}
        </button>
      </footer>
    </>
  );
}
