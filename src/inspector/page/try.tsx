// The dialog of a dry run: one handler runs on the stored delivery, and what it wrote to `db` is rolled back.

import { useSignal } from "@preact/signals";

import { deadHandlers } from "../../api/latest-runs.ts";
import type { TriedJson } from "../../api/types.ts";
import { matchesPattern } from "../../clerk/pattern.ts";
import { count } from "../../count.ts";
import { formatDuration } from "../../duration.ts";
import { api } from "./api.ts";
import { Log, Thrown } from "./attempt.tsx";
import { Frame } from "./code.tsx";
import { Dialog } from "./dialog.tsx";
import { stored } from "./replay.tsx";
import { actingOn, attempt, handlers } from "./state.ts";
import { Sure } from "./sure.tsx";

export function Try() {
  const id = actingOn.value ?? "";
  const { type, runs } = stored(id);
  const names = (handlers.value ?? []).filter(({ event }) => matchesPattern(event, type)).map(({ name }) => name);
  const [dead] = deadHandlers(runs).filter((name) => names.includes(name));
  const chosen = useSignal(dead ?? names[0] ?? "");
  const running = useSignal(false);
  const result = useSignal<TriedJson | null>(null);
  const run = async () => {
    running.value = true;
    result.value = null;
    await attempt(async () => {
      result.value = await api.tryHandler(id, chosen.value);
    });
    running.value = false;
  };
  return (
    <Dialog title={`Try ${type}`} wide>
      <form
        class="stack loose"
        onSubmit={(event) => {
          event.preventDefault();
          void run();
        }}
      >
        <p class="faint">
          Runs the current code once. What it writes to <code>db</code> is rolled back; what it does elsewhere (clerk,
          fetch) is real.
        </p>
        <p class="row">
          <select
            aria-label="Handler"
            value={chosen.value}
            onChange={({ currentTarget }) => (chosen.value = currentTarget.value)}
          >
            {names.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
          <button type="submit" class="primary" autofocus disabled={running.value || chosen.value === ""}>
            {running.value ? "Running…" : result.value ? "Try again" : "Try"}
          </button>
        </p>
        <Sure>effects outside of db are real.</Sure>
      </form>
      <div role="status">{result.value && <Result result={result.value} />}</div>
    </Dialog>
  );
}

function Result({ result: { handler, outcome, took, log, sql, error, frame } }: { result: TriedJson }) {
  const isDone = outcome === "done";
  return (
    <div class="stack loose">
      <p>
        <b class={isDone ? "good" : "bad"}>
          {isDone ? "✓" : "✕"} {outcome}
        </b>{" "}
        <code>{handler}</code> in {formatDuration(took)}
      </p>
      {error && <Thrown error={error} />}
      {frame && <Frame frame={frame} />}
      {log.length > 0 && <Log lines={log} />}
      <h2>SQL, rolled back</h2>
      {sql.length === 0 ? (
        <p class="faint">It ran no query.</p>
      ) : (
        <ol class="sql">
          {sql.map(({ text, rows, error: failed }, index) => (
            <li key={index} class="row">
              <pre class="wrap grow" tabIndex={0}>
                {text}
              </pre>
              <span class={failed === null ? "faint" : "bad"}>{failed ?? count(rows ?? 0, "row")}</span>
            </li>
          ))}
        </ol>
      )}
    </div>
  );
}
