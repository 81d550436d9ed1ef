// Runs one delivery again: all of its handlers, or one.

import { useSignal } from "@preact/signals";

import { api } from "./api.ts";
import { Dialog } from "./dialog.tsx";
import { fitsType } from "./filter.ts";
import { opened, reloadOpen } from "./opened.ts";
import { rows } from "./rows.ts";
import { attempt, dialog, handlers, replaying, say } from "./state.ts";
import { count } from "./time.ts";

export function Replay() {
  const id = replaying.value ?? "";
  const type = typeOf(id);
  const matching = (handlers.value ?? []).filter(({ event }) => fitsType(event, type));
  const sending = useSignal(false);
  const replay = async (handler?: string) => {
    sending.value = true;
    await attempt(async () => {
      const answer = await api.replay(id, handler);
      say(`${type} runs again: ${answer.handlers.join(", ")}.`, { link: { text: "Open it", id } });
      dialog.value = null;
      reloadOpen();
    });
    sending.value = false;
  };
  return (
    <Dialog title={`Replay ${type}`}>
      <p>
        <code>{id}</code> runs again, whatever ran before. What a handler does elsewhere than in <code>db</code> is done
        again as well.
      </p>
      {matching.length === 0 ? (
        <p class="warn">
          No handler matches it: <code>bun new {type}</code> writes one.
        </p>
      ) : (
        <p class="choices">
          <button type="button" class="primary" autofocus disabled={sending.value} onClick={() => void replay()}>
            {matching.length === 1 ? `Run ${matching[0]?.name}` : `Run all ${count(matching.length, "handler")}`}
          </button>
          {matching.length > 1 &&
            matching.map(({ name, error }) => (
              <button key={name} type="button" disabled={sending.value} onClick={() => void replay(name)}>
                Only <code>{name}</code>
                {error && " (does not load)"}
              </button>
            ))}
        </p>
      )}
    </Dialog>
  );
}

function typeOf(id: string): string {
  if (opened.value?.id === id) return opened.value.type;
  return rows.value.deliveries.find((each) => each.id === id)?.type ?? "";
}
