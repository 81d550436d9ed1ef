// Sends a sample of any event to this server, signed as Clerk signs it.

import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

import { matchesPattern } from "../../clerk/pattern.ts";
import { messageOf } from "../../errors.ts";
import { parseObject } from "../../json.ts";
import { api } from "./api.ts";
import { Dialog } from "./dialog.tsx";
import { attempt, dialog, go, handlers, server } from "./state.ts";
import { Sure } from "./sure.tsx";

/** The sample that was sent last, until the page is closed. */
let remembered = { event: "user.created", data: "" };

export function Send() {
  const query = useSignal("");
  const chosen = useSignal(remembered.event);
  const data = useSignal(remembered.data);
  const list = useRef<HTMLFieldSetElement>(null);
  useEffect(() => list.current?.querySelector(":checked")?.scrollIntoView({ block: "center" }), []);
  const trouble = useSignal("");
  const sending = useSignal(false);
  const names = useComputed(() => {
    const parts = query.value.toLowerCase().split(/\s+/);
    return (server.value?.samples ?? []).filter((name) => parts.every((part) => name.toLowerCase().includes(part)));
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
        remembered = { event, data: data.value };
        dialog.value = null;
        go({ page: "deliveries", id, problem: null });
      } else trouble.value = `The server answered ${status}: see Refused.`;
    });
    sending.value = false;
  };
  return (
    <Dialog title="Send a sample" isDirty={() => data.value !== remembered.data}>
      <form
        class="stack loose"
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
        <fieldset class="events panel" ref={list}>
          <legend class="visually-hidden">Event</legend>
          {names.value.map((name) => (
            <label key={name} class="row">
              <input
                type="radio"
                name="event"
                value={name}
                checked={name === event}
                onChange={() => (chosen.value = name)}
              />
              <code>{name}</code>
              <Handled event={name} />
            </label>
          ))}
          {names.value.length === 0 && <p class="faint">Clerk has no such event.</p>}
        </fieldset>
        <details open={data.peek() !== ""}>
          <summary>Override fields</summary>
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
        {event !== undefined && <Sure>its real handlers run with invented data.</Sure>}
        <p class="bad" role="alert">
          {trouble.value}
        </p>
        <footer class="row">
          <button type="submit" class="primary" disabled={event === undefined || sending.value}>
            {sending.value ? "Sending…" : `Send ${event ?? ""}`}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

function Handled({ event }: { event: string }) {
  const matching = (handlers.value ?? []).filter(({ event: pattern }) => matchesPattern(pattern, event));
  return (
    <span class="faint">{matching.length === 0 ? "no handler" : matching.map(({ name }) => name).join(", ")}</span>
  );
}

/** Parses the typed data, or returns what is wrong with it. */
function readData(text: string): Record<string, unknown> | undefined | string {
  if (text.trim() === "") return undefined;
  try {
    return parseObject(text);
  } catch (error) {
    return `The data ${messageOf(error)}`;
  }
}
