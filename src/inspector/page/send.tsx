// Sends a sample of any event to this very server, signed as Clerk would.

import { useComputed, useSignal } from "@preact/signals";

import { api } from "./api.ts";
import { Dialog } from "./dialog.tsx";
import { attempt, dialog, go, handlers, say, server } from "./state.ts";

export function Send() {
  const query = useSignal("");
  const chosen = useSignal("user.created");
  const data = useSignal("");
  const trouble = useSignal("");
  const sending = useSignal(false);
  const names = useComputed(() => {
    const words = query.value.toLowerCase().split(/\s+/);
    return (server.value?.samples ?? []).filter((each) => words.every((word) => each.toLowerCase().includes(word)));
  });
  const event = names.value.includes(chosen.value) ? chosen.value : names.value[0];

  const send = async () => {
    const read = readData(data.value);
    trouble.value = typeof read === "string" ? read : "";
    if (event === undefined || typeof read === "string") return;
    sending.value = true;
    await attempt(async () => {
      const { id, status } = await api.send(event, read);
      if (status === 200) {
        say(`Sent ${event}.`, { link: { text: "Open it", id } });
        dialog.value = null;
        go({ page: "deliveries" });
      } else trouble.value = `The server answered ${status}: see Refused.`;
    });
    sending.value = false;
  };
  return (
    <Dialog title="Send a sample">
      <form
        class="send"
        onSubmit={(submitted) => {
          submitted.preventDefault();
          void send();
        }}
      >
        <input
          type="search"
          aria-label="Search events"
          placeholder="Search events"
          autofocus
          spellcheck={false}
          value={query.value}
          onInput={({ currentTarget }) => (query.value = currentTarget.value)}
        />
        <fieldset class="events">
          <legend class="unseen">Event</legend>
          {names.value.map((each) => (
            <label key={each}>
              <input
                type="radio"
                name="event"
                value={each}
                checked={each === event}
                onChange={() => (chosen.value = each)}
              />
              <code>{each}</code>
              <Handled event={each} />
            </label>
          ))}
          {names.value.length === 0 && <p class="faint">Clerk has no such event.</p>}
        </fieldset>
        <details>
          <summary>Data of your own</summary>
          <label>
            <span class="faint">
              JSON that replaces parts of the sample's <code>data</code>
            </span>
            <textarea
              rows={5}
              spellcheck={false}
              placeholder={'{ "first_name": "Ada" }'}
              aria-invalid={trouble.value !== ""}
              value={data.value}
              onInput={({ currentTarget }) => (data.value = currentTarget.value)}
            />
          </label>
        </details>
        <p class="bad" role="alert">
          {trouble.value}
        </p>
        <footer>
          <button type="submit" class="primary" disabled={event === undefined || sending.value}>
            {sending.value ? "Sending…" : `Send ${event ?? ""}`}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

function Handled({ event }: { event: string }) {
  const [kind] = event.split(".");
  const matching = (handlers.value ?? []).filter(({ event: each }) => [event, `${kind}.*`, "*"].includes(each));
  return (
    <span class="faint">{matching.length === 0 ? "no handler" : matching.map(({ name }) => name).join(", ")}</span>
  );
}

/** What was typed as data, or what is wrong with it. */
function readData(text: string): Record<string, unknown> | undefined | string {
  if (text.trim() === "") return undefined;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
    return 'The data has to be an object, as { "first_name": "Ada" }.';
  } catch (error) {
    return `The data is no JSON: ${error instanceof Error ? error.message : String(error)}`;
  }
}
