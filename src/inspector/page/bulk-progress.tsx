// The progress of a bulk replay, on every view and in every tab, with a button that stops it.

import { endedRuns } from "../../api/bulk-replay.ts";
import { count } from "../../count.ts";
import { isLost, job, stop } from "./bulk-job.ts";
import { attempt } from "./state.ts";

export function BulkStrip() {
  const shown = job.value;
  if (!shown) return null;
  const { added, isAdding, isStopped, isFinished, reason, runs } = shown;
  const ended = endedRuns(runs);
  const number = (value: number) => value.toLocaleString("en");
  return (
    <section class="bulk-strip bar row" aria-label="Bulk replay">
      <p role="status">
        <b>
          {isFinished ? "Replayed" : isAdding ? "Adding runs:" : "Replaying"} {count(added, "run")}
        </b>{" "}
        <span class="faint">
          {number(runs.done)} done, {number(runs.dead)} dead{runs.skipped > 0 && `, ${number(runs.skipped)} skipped`}
          {runs.waiting > 0 && `, ${number(runs.waiting)} waiting`}
          {isStopped && ", stopped"}
        </span>
        {reason !== null && <span class="bad"> It ended early: {reason}</span>}
        {isLost.value && <span class="bad"> The server no longer knows it.</span>}
      </p>
      <progress
        class="grow"
        aria-label="Runs that have ended"
        max={Math.max(1, added)}
        {...(isFinished ? { value: Math.max(1, added) } : isAdding ? {} : { value: ended })}
      />
      {isAdding && !isLost.value && (
        <button type="button" disabled={isStopped} onClick={() => void attempt(stop)}>
          Stop
        </button>
      )}
      {(isFinished || isLost.value) && (
        <button type="button" class="subtle" onClick={() => (job.value = null)}>
          Close
        </button>
      )}
    </section>
  );
}
