// The history of a delivery: its receipt, then each run with its attempts and its next step.

import { useSignal } from "@preact/signals";

import type { DeliveryJson, RunJson } from "../../api/types.ts";
import { api } from "./api.ts";
import { Attempt } from "./attempt.tsx";
import { Countdown, StateChip, Time } from "./components.tsx";
import { chipOf } from "./labels.ts";
import { openedAt, reloadOpen } from "./opened.ts";
import { attempt, notify } from "./state.ts";

export function Timeline({ delivery }: { delivery: DeliveryJson }) {
  const { receivedAt, runs } = delivery;
  return (
    <section class="timeline" aria-labelledby="runs-heading">
      <h2 id="runs-heading">Runs</h2>
      <ol>
        <li class="step received">
          <p>
            <b>Received</b>, signature matches <Time at={receivedAt} />
          </p>
        </li>
        {runs.length === 0 && (
          <li class="step unhandled">
            <p>
              <b>Unhandled</b>: it had no handler when it arrived. Replay runs it in handlers that were added later.
            </p>
          </li>
        )}
        {runs.map((run) => (
          <Run key={run.run} run={run} />
        ))}
      </ol>
    </section>
  );
}

function Run({ run }: { run: RunJson }) {
  const { handler, replay, attempts, reason } = run;
  const chip = chipOf({ ...run, attempts: attempts.length });
  const ended = run.state === "dead" || run.state === "skipped";
  return (
    <li class={`step ${chip.tone}`}>
      <h3>
        <code>{handler}</code> <StateChip chip={chip} label={chip.word} />
        {replay !== "" && (
          <span class="mark replay" title={`Replay ${replay}`}>
            replay
          </span>
        )}
      </h3>
      {ended && reason !== null && <p class="reason">{reason}</p>}
      {attempts.length > 0 && (
        <ol class="attempts">
          {attempts.map((item, index) => (
            <Attempt key={item.attempt} attempt={item} open={index === attempts.length - 1} />
          ))}
        </ol>
      )}
      <Next run={run} />
    </li>
  );
}

/** The next step of a run, when it is due, and the actions on it. */
function Next({ run }: { run: RunJson }) {
  const { state, parked, due, attempts } = run;
  if (state === "running")
    return (
      <p class="next">
        <span class="spinner" aria-hidden="true" /> Attempt {attempts.length + 1} is running.
      </p>
    );
  if (state !== "waiting") return null;
  const until = openedAt.value + (due ?? 0);
  return (
    <div class="next">
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
  const act = (work: () => Promise<{ done: boolean }>, done: string) =>
    attempt(async () => {
      const answer = await work();
      notify(answer.done ? done : "The run has changed meanwhile, so nothing was done.");
      sure.value = false;
      reloadOpen();
    });
  return (
    <p class="actions">
      {!parked && (
        <button type="button" onClick={() => void act(() => api.retry(run), `Retrying ${handler} now.`)}>
          Retry now
        </button>
      )}
      {sure.value ? (
        <>
          <button
            type="button"
            class="danger"
            onClick={() => void act(() => api.giveUp(run), `Gave up on ${handler}.`)}
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
