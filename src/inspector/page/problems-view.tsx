// The problems: failures with the same cause, with the line that threw, since when, how many, and their replay.

import { useSignal } from "@preact/signals";

import type { ProblemJson } from "../../api/types.ts";
import { count } from "../../count.ts";
import { follow } from "./bulk-job.ts";
import { Confirm, MAX_WITHOUT_TYPING } from "./bulk.tsx";
import { Chart } from "./chart.tsx";
import { coloured, Place } from "./code.tsx";
import { Ago } from "./components.tsx";
import { problemsApi } from "./problems-client.ts";
import { problems } from "./problems.ts";
import { Empty, Show } from "./remote.tsx";
import { attempt, go, notify, view } from "./state.ts";
import { writeView } from "./view-url.ts";

type Tab = "open" | "resolved" | "muted";

const TABS: Record<Tab, string> = { open: "Open", resolved: "Resolved", muted: "Muted" };

export function Problems() {
  const tab = useSignal<Tab>("open");
  return (
    <section class="problem-list stack loose" aria-labelledby="problems-heading">
      <Show of={problems} what="The problems" layout="stack loose">
        {(all) => {
          const byTab = Map.groupBy(all, tabOf);
          const open = byTab.get("open") ?? [];
          const shown = byTab.get(tab.value) ?? [];
          return (
            <>
              <h1 id="problems-heading" tabIndex={-1}>
                {open.length === 0 ? "No open problems" : count(open.length, "problem")}{" "}
                {open.length > 0 && <span class="faint">{describe(open)}</span>}
              </h1>
              <div class="row tight" role="group" aria-label="Which problems">
                {Object.entries(TABS).map(([name, label]) => (
                  <button
                    key={name}
                    type="button"
                    class="subtle"
                    aria-pressed={tab.value === name}
                    onClick={() => (tab.value = name as Tab)}
                  >
                    {label} {byTab.get(name as Tab)?.length ?? 0}
                  </button>
                ))}
              </div>
              {shown.length === 0 ? (
                <Empty title={tab.value === "open" ? "Nothing is failing" : `No ${tab.value} problems`} />
              ) : (
                <ul class="panel">
                  {shown.map((problem) => (
                    <Problem key={problem.id} problem={problem} />
                  ))}
                </ul>
              )}
            </>
          );
        }}
      </Show>
    </section>
  );
}

export function tabOf({ state, muted }: Pick<ProblemJson, "state" | "muted">): Tab {
  return muted ? "muted" : state;
}

function describe(open: readonly ProblemJson[]): string {
  const total = (read: (problem: ProblemJson) => number) => open.reduce((sum, problem) => sum + read(problem), 0);
  const parts = [
    `${count(
      total(({ runs }) => runs.dead),
      "run is",
      "runs are",
    )} dead`,
  ];
  const retrying = total(({ runs }) => runs.retrying);
  if (retrying > 0) parts.push(`${retrying.toLocaleString("en")} being retried`);
  return `${parts.join(", ")}, of ${count(
    total(({ subjects }) => subjects),
    "subject",
  )}`;
}

function Problem({ problem }: { problem: ProblemJson }) {
  const { id, handler, name, message, place, source, runs, subjects, more, firstAt, lastAt, days, newest } = problem;
  const isOpen = view.value.problem === id;
  const affected = runs.dead + runs.retrying + runs.done;
  const [file = "", line = "0"] = place?.split(/:(?=\d+$)/) ?? [];
  return (
    <li class={`problem${isOpen ? " open raised" : ""}${problem.state === "resolved" ? " dim" : ""}`}>
      <div class="cause">
        <p class="cut">
          <b class="mono">{handler}</b> <StateChips problem={problem} />
        </p>
        <p class="cut">
          <a
            class="message"
            data-row={id}
            href={writeView({ ...view.value, page: "problems", problem: id, id: newest })}
            aria-current={isOpen ? "true" : undefined}
          >
            <b class="bad">{name}</b> {message}
          </a>
        </p>
        <p class="at cut">
          {place === null ? (
            <span class="faint">no line of yours was running</span>
          ) : (
            <>
              <Place file={file} line={Number(line)} /> {source !== null && <code>{coloured(source.trim())}</code>}
            </>
          )}
        </p>
      </div>
      <Chart kind="bars" label="Failures of the last 14 days" lines={[{ values: days, tone: "bad" }]} />
      <p class="amount">
        <b>
          {affected.toLocaleString("en")}
          {more && "+"}
        </b>
        <span class="faint">runs</span>
      </p>
      <p class="amount">
        <b>{subjects.toLocaleString("en")}</b>
        <span class="faint">subjects</span>
      </p>
      <p class="when">
        <Ago at={lastAt} />
        <span class="faint">
          first <Ago at={firstAt} />
        </span>
      </p>
      <ProblemActions problem={problem} />
    </li>
  );
}

function StateChips({ problem: { state, runs, regressedAt } }: { problem: ProblemJson }) {
  return (
    <>
      {runs.dead > 0 && <span class="chip dead">✕ {runs.dead.toLocaleString("en")} dead</span>}{" "}
      {runs.retrying > 0 && <span class="chip retry">↻ {runs.retrying.toLocaleString("en")} retrying</span>}{" "}
      {state === "resolved" && <span class="chip done">✓ resolved: {runs.done.toLocaleString("en")} done</span>}{" "}
      {regressedAt !== null && state === "open" && <span class="tiny faint">again, after it was resolved</span>}
    </>
  );
}

function ProblemActions({ problem: { id, runs, muted, newest, more } }: { problem: ProblemJson }) {
  /** The number to confirm, once it was asked for. */
  const counted = useSignal<number | null>(null);
  const number = counted.value;
  const ask = () => attempt(async () => void (counted.value = await problemsApi.count(id)));
  const replay = (expected: number) => attempt(async () => follow(await problemsApi.replay(id, expected)));
  const mute = () =>
    attempt(async () => {
      await problemsApi.mute(id, !muted);
      notify(muted ? "It is shown again." : "Muted until it fails twice as often.");
      // Not with the next update: the person waits for it.
      await problems.load();
    });
  return (
    <div class="actions row tight">
      {number !== null && (
        <Confirm
          number={number}
          what="run"
          repeats={false}
          onYes={() => replay(number)}
          onNo={() => (counted.value = null)}
        />
      )}
      {number === null && runs.dead > 0 && (
        <button
          type="button"
          class="primary"
          title="Run again exactly the dead runs of this problem"
          onClick={() => void (runs.dead > MAX_WITHOUT_TYPING ? ask() : replay(runs.dead))}
        >
          Replay {runs.dead.toLocaleString("en")}
          {more && "+"}
        </button>
      )}
      <button type="button" onClick={() => go({ page: "problems", problem: id, id: newest })}>
        Latest
      </button>
      <button type="button" class="subtle" onClick={() => void mute()}>
        {muted ? "Unmute" : "Mute"}
      </button>
    </div>
  );
}
