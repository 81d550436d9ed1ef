// The runs of a delivery, those in trouble first; a run that is done is folded.

import { useSignal } from "@preact/signals";

import { latestRuns } from "../../api/latest-runs.ts";
import type { DeliveryJson, RunJson } from "../../api/types.ts";
import { count } from "../../count.ts";
import { formatDuration } from "../../duration.ts";
import { api } from "./api.ts";
import { Attempts } from "./attempt.tsx";
import { Countdown, StateChip, Time } from "./components.tsx";
import { chipOf } from "./labels.ts";
import { openedAt, refreshOpen } from "./opened.ts";
import { attempt, notify } from "./state.ts";

export function Timeline({ delivery }: { delivery: DeliveryJson }) {
  const { receivedAt, runs } = delivery;
  const latest = new Set(latestRuns(runs));
  return (
    <section class="timeline stack" aria-labelledby="runs-heading">
      <h2 id="runs-heading" tabIndex={-1}>
        Runs
      </h2>
      <ol class="stack loose">
        {runs.length === 0 && (
          <li class="step">
            <p>
              <b>Unhandled</b>: it had no handler when it arrived. Replay runs it in handlers that were added later.
            </p>
          </li>
        )}
        {runs
          .toSorted((a, b) => urgency(a, latest) - urgency(b, latest) || b.run - a.run)
          .map((run) => (
            <Run key={run.run} run={run} isLatest={latest.has(run)} />
          ))}
        <li class="step">
          <p class="faint">
            Received, signature matches <Time at={receivedAt} />
          </p>
        </li>
      </ol>
    </section>
  );
}

const ORDER = { dead: 0, running: 1, waiting: 1, skipped: 3, done: 4 };

/** A run that a later one of its handler has replaced is history. */
function urgency(run: RunJson, latest: ReadonlySet<RunJson>): number {
  if (!latest.has(run)) return 5;
  return run.state === "waiting" && run.attempts.length === 0 ? 2 : ORDER[run.state];
}

function Run({ run, isLatest }: { run: RunJson; isLatest: boolean }) {
  const { handler, replay, attempts, reason, state } = run;
  const chip = chipOf({ ...run, attempts: attempts.length });
  const took = attempts.at(-1)?.took;
  const isQuiet = state === "done" || state === "skipped" || !isLatest;
  const head = (
    <>
      <b class="handler mono">{handler}</b> <StateChip chip={chip} label={chip.word} />{" "}
      <span class="faint">
        {attempts.length > 1 && `${count(attempts.length, "attempt")} · `}
        {took !== undefined && formatDuration(took)}
        {!isLatest && " · replayed since"}
      </span>
      {replay !== "" && (
        <span class="tiny faint" title={`Replay ${replay}`}>
          replay
        </span>
      )}
    </>
  );
  const body = (
    <>
      {(state === "dead" || state === "skipped") && reason !== null && reason !== attempts.at(-1)?.error?.name && (
        <p class={state === "dead" ? "bad" : ""}>{reason}</p>
      )}
      <Attempts attempts={attempts} isOpen={!isQuiet} />
      <Next run={run} />
    </>
  );
  return (
    <li class={`step stack ${chip.tone}${isLatest ? "" : " dim"}`}>
      {isQuiet ? (
        <details>
          <summary>{head}</summary>
          {body}
        </details>
      ) : (
        <>
          <h3>{head}</h3>
          {body}
        </>
      )}
    </li>
  );
}

/** The next step of a run, when it is due, and the actions on it. */
function Next({ run }: { run: RunJson }) {
  const { state, parked, due, attempts } = run;
  if (state === "running") return <p>Attempt {attempts.length + 1} is running.</p>;
  if (state !== "waiting") return null;
  const until = openedAt.value + (due ?? 0);
  return (
    <div>
      <p>
        {parked ? (
          "Waits for its file, which does not load or is missing: see Handlers. After 24 hours without it, it is skipped."
        ) : attempts.length > 0 && due !== null && due > 0 ? (
          <>
            Attempt {attempts.length + 1} in <Countdown until={until} />
          </>
        ) : (
          "Waits for an earlier event of this subject, or for a free slot of the handler."
        )}
      </p>
      <RunActions run={run} />
    </div>
  );
}

function RunActions({ run: { run, handler, parked } }: { run: RunJson }) {
  const sure = useSignal(false);
  const change = (work: () => Promise<{ done: boolean }>, done: string) =>
    attempt(async () => {
      const answer = await work();
      notify(answer.done ? done : "The run has changed meanwhile, so nothing was done.");
      sure.value = false;
      refreshOpen();
    });
  return (
    <p class="row tight">
      {!parked && (
        <button type="button" onClick={() => void change(() => api.retry(run), `Retrying ${handler} now.`)}>
          Retry now
        </button>
      )}
      {sure.value ? (
        <>
          <button
            type="button"
            class="danger"
            onClick={() => void change(() => api.giveUp(run), `Gave up on ${handler}.`)}
          >
            Yes, give up on this run
          </button>
          <button type="button" class="subtle" onClick={() => (sure.value = false)}>
            No
          </button>
        </>
      ) : (
        <button type="button" class="subtle" onClick={() => (sure.value = true)}>
          Give up…
        </button>
      )}
    </p>
  );
}
