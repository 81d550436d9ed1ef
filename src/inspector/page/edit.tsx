// The dialog that edits a stored event and sends it as a new one. The stored delivery stays as it is.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { matchesPattern } from "../../clerk/pattern.ts";
import { messageOf } from "../../errors.ts";
import { api } from "./api.ts";
import { Dialog } from "./dialog.tsx";
import { stored } from "./replay.tsx";
import { actingOn, attempt, dialog, go, handlers } from "./state.ts";
import { Sure } from "./sure.tsx";

export function Edit() {
  const id = actingOn.value ?? "";
  const { type } = stored(id);
  const text = useSignal("");
  const original = useSignal<string | null>(null);
  const trouble = useSignal("");
  const sending = useSignal(false);
  useEffect(() => {
    void attempt(async () => {
      // Hidden values would otherwise be sent as dots.
      const { payload } = await api.delivery(id, true);
      original.value = text.value = JSON.stringify(JSON.parse(payload ?? "null"), null, 2);
    });
  }, []);
  const matching = (handlers.value ?? []).filter(({ event }) => matchesPattern(event, type)).map(({ name }) => name);
  const send = async () => {
    const event = readEvent(text.value);
    trouble.value = typeof event === "string" ? event : "";
    if (typeof event === "string") return;
    sending.value = true;
    await attempt(async () => {
      const { id: sent, status } = await api.edited(id, event);
      if (status === 200) {
        dialog.value = null;
        go({ page: "deliveries", id: sent, problem: null });
      } else trouble.value = `The server answered ${status}: see Refused.`;
    });
    sending.value = false;
  };
  return (
    <Dialog title={`Edit ${type}`} wide isDirty={() => original.value !== null && text.value !== original.value}>
      <form
        class="stack loose"
        onSubmit={(event) => {
          event.preventDefault();
          void send();
        }}
      >
        <p class="faint">
          Sent as a new delivery, marked as edited, in its event's place. It runs in:{" "}
          {matching.length === 0 ? "no handler" : matching.join(", ")}.
        </p>
        <label>
          <span class="visually-hidden">The event as JSON</span>
          <textarea
            rows={18}
            spellcheck={false}
            autofocus
            disabled={original.value === null}
            aria-invalid={trouble.value !== ""}
            value={text.value}
            onInput={({ currentTarget }) => {
              text.value = currentTarget.value;
              trouble.value = "";
            }}
          />
        </label>
        <p class="bad" role="alert">
          {trouble.value}
        </p>
        <Sure>its real handlers run with what you typed.</Sure>
        <footer class="row">
          <button type="submit" class="primary" disabled={sending.value || original.value === null}>
            {sending.value ? "Sending…" : "Run the edited event"}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

/** The event, or what is wrong with the text, with its line. Pure. */
export function readEvent(text: string): object | string {
  try {
    const event: unknown = JSON.parse(text);
    const { type, data } = (event ?? {}) as { type?: unknown; data?: unknown };
    if (typeof type === "string" && typeof data === "object" && data !== null) return event as object;
    return "An event has a string `type` and an object `data`.";
  } catch (error) {
    const line = lineOfError(messageOf(error), text);
    return `This is not JSON${line === null ? "" : `, line ${line}`}: ${messageOf(error)}`;
  }
}

/** Chromium and Firefox name a line or a position. */
function lineOfError(message: string, text: string): number | null {
  const line = /line (\d+)/.exec(message)?.[1];
  if (line !== undefined) return Number(line);
  const position = /position (\d+)/.exec(message)?.[1];
  return position === undefined ? null : text.slice(0, Number(position)).split("\n").length;
}
