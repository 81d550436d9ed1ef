// The dialog that runs one delivery again: by default what failed, never by default what succeeded.

import { useSignal } from "@preact/signals";

import { deadHandlers, latestRuns } from "../../api/latest-runs.ts";
import type { RunSummary } from "../../api/types.ts";
import { matchesPattern } from "../../clerk/pattern.ts";
import { count } from "../../count.ts";
import { api } from "./api.ts";
import { Dialog } from "./dialog.tsx";
import { opened, refreshOpen } from "./opened.ts";
import { rows } from "./rows.ts";
import { actingOn, attempt, dialog, handlers, notify, openId, server } from "./state.ts";

export function Replay() {
  const id = actingOn.value ?? "";
  const { type, runs } = stored(id);
  const matching = (handlers.value ?? []).filter(({ event }) => matchesPattern(event, type));
  const sending = useSignal(false);
  const dead = deadHandlers(runs).filter((name) => matching.some((handler) => handler.name === name));
  const done = latestRuns(runs).filter(({ state }) => state === "done");
  const replay = async (which: { handler?: string; dead?: boolean }) => {
    sending.value = true;
    await attempt(async () => {
      const answer = await api.replay(id, which);
      notify(
        `Running ${type} again in ${answer.handlers.join(", ")}.`,
        openId.value === id ? {} : { link: { text: "Open it", id } },
      );
      dialog.value = null;
      refreshOpen();
    });
    sending.value = false;
  };
  const all = matching.length === 1 ? `Run ${matching[0]?.name}` : `Run all ${count(matching.length, "handler")}`;
  // Running what has never run, or is unhandled, repeats nothing.
  const isAllSafe = dead.length === 0 && done.length === 0;
  const isOnlyDead = dead.length === matching.length;
  return (
    <Dialog title={`Run ${type} again`}>
      <p>
        Runs <code>{id}</code> with the current code, whatever ran before. Effects outside of <code>db</code> are
        repeated.
      </p>
      {matching.length === 0 ? (
        <p class="warn">
          No handler matches it:{" "}
          <code>
            {server.value?.command} new {type}
          </code>{" "}
          writes one.
        </p>
      ) : (
        <p class="start stack">
          {dead.length > 0 && (
            <button
              type="button"
              class="primary"
              autofocus
              disabled={sending.value}
              onClick={() => void replay({ dead: true })}
            >
              Run again what failed: {dead.join(", ")}
            </button>
          )}
          {!isOnlyDead && (
            <button
              type="button"
              class={isAllSafe ? "primary" : ""}
              autofocus={isAllSafe}
              disabled={sending.value}
              onClick={() => void replay({})}
            >
              {all}
              {done.length > 0 && `, also ${done.length === 1 ? "the one" : `${done.length}`} that succeeded`}
            </button>
          )}
          {matching.length > 1 &&
            matching.map(({ name, error }) => (
              <button key={name} type="button" disabled={sending.value} onClick={() => void replay({ handler: name })}>
                Only <code>{name}</code>
                {error && " (does not load)"}
                {done.some(({ handler }) => handler === name) && <span class="faint"> succeeded</span>}
              </button>
            ))}
        </p>
      )}
    </Dialog>
  );
}

export interface Stored {
  type: string;
  runs: readonly Pick<RunSummary, "run" | "handler" | "state">[];
}

/** The type and the runs of a delivery, as the page knows them. */
export function stored(id: string): Stored {
  const found = opened.value?.id === id ? opened.value : rows.value.deliveries.find((delivery) => delivery.id === id);
  return found ?? { type: "", runs: [] };
}
