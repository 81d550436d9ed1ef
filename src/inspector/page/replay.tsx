// The dialog that replays one delivery, in all its handlers or in one.

import { useSignal } from "@preact/signals";

import { deadHandlers, isPartlyDead } from "../../api/latest-runs.ts";
import type { RunSummary } from "../../api/types.ts";
import { matchesPattern } from "../../clerk/pattern.ts";
import { count } from "../../count.ts";
import { api } from "./api.ts";
import { Dialog } from "./dialog.tsx";
import { opened, reloadOpen } from "./opened.ts";
import { rows } from "./rows.ts";
import { attempt, dialog, handlers, notify, replaying, server } from "./state.ts";

export function Replay() {
  const id = replaying.value ?? "";
  const type = typeOf(id);
  const matching = (handlers.value ?? []).filter(({ event }) => matchesPattern(event, type));
  const sending = useSignal(false);
  const runs = runsOf(id);
  const dead = matching.filter(({ name }) => deadHandlers(runs).includes(name)).map(({ name }) => name);
  // After a fix, only dead runs have to be replayed.
  const onlyDead = isPartlyDead(runs) && dead.length > 0;
  const replay = async (which: { handler?: string; dead?: boolean }) => {
    sending.value = true;
    await attempt(async () => {
      const answer = await api.replay(id, which);
      notify(`Replaying ${type} in ${answer.handlers.join(", ")}.`, { link: { text: "Open it", id } });
      dialog.value = null;
      reloadOpen();
    });
    sending.value = false;
  };
  return (
    <Dialog title={`Replay ${type}`}>
      <p>
        Runs <code>{id}</code>, whatever ran before. Effects outside of <code>db</code> are repeated.
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
        <p class="choices">
          {onlyDead && (
            <button
              type="button"
              class="primary"
              autofocus
              disabled={sending.value}
              onClick={() => void replay({ dead: true })}
            >
              Run what died: {dead.join(", ")}
            </button>
          )}
          <button
            type="button"
            class={onlyDead ? "" : "primary"}
            autofocus={!onlyDead}
            disabled={sending.value}
            onClick={() => void replay({})}
          >
            {matching.length === 1 ? `Run ${matching[0]?.name}` : `Run all ${count(matching.length, "handler")}`}
          </button>
          {matching.length > 1 &&
            matching.map(({ name, error }) => (
              <button key={name} type="button" disabled={sending.value} onClick={() => void replay({ handler: name })}>
                Only <code>{name}</code>
                {error && " (does not load)"}
              </button>
            ))}
        </p>
      )}
    </Dialog>
  );
}

function runsOf(id: string): readonly Pick<RunSummary, "run" | "handler" | "state">[] {
  if (opened.value?.id === id) return opened.value.runs;
  return rows.value.deliveries.find((delivery) => delivery.id === id)?.runs ?? [];
}

function typeOf(id: string): string {
  if (opened.value?.id === id) return opened.value.type;
  return rows.value.deliveries.find((delivery) => delivery.id === id)?.type ?? "";
}
