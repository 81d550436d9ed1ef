// The controls of the filter. Each change goes to the page's URL at once, so that the view can be shared.

import { useComputed, useSignal, useSignalEffect } from "@preact/signals";

import { type Filter, readText, STATES } from "./filter.ts";
import { rows } from "./rows.ts";
import { dialog, filter, handlers, narrow, narrowed, server } from "./state.ts";

const TYPING_MS = 400;
const SPANS = { "15m": "last 15 min", "1h": "last hour", "24h": "last 24 h", "7d": "last 7 days" };

export function Filters() {
  const more = useSignal(false);
  const current = filter.value;
  const isNarrowed = narrowed(current);
  const hasMore = [current.subject, current.id, current.until].some(Boolean) || isMoment(current.since);
  const shown = more.value || hasMore;
  return (
    <form class="filters" role="search" aria-label="Filter deliveries" onSubmit={(event) => event.preventDefault()}>
      <SearchBox />
      <div class="choices-row">
        <SelectField name="state" label="State" any="any state" choices={STATES} />
        <TextField name="type" label="Type" hint="any type" list={typesOf(server.value?.samples ?? [])} />
        <SelectField name="handler" label="Handler" any="any handler" choices={handlersOf(current.handler)} />
        <SelectField name="since" label="Time" any="any time" choices={spansOf(current.since)} />
        <button
          type="button"
          class="subtle"
          aria-expanded={shown}
          disabled={hasMore}
          onClick={() => (more.value = !more.value)}
        >
          More
        </button>
        {isNarrowed && (
          <button type="button" class="subtle" onClick={() => narrow(NOTHING)}>
            Clear
          </button>
        )}
        <button type="button" disabled={rows.value.deliveries.length === 0} onClick={() => (dialog.value = "bulk")}>
          Replay these…
        </button>
      </div>
      {shown && (
        <div class="more">
          <TextField name="subject" label="Subject" hint="user_…" />
          <TextField name="id" label="Delivery" hint="msg_…" />
          <TimeField name="since" label="From" />
          <TimeField name="until" label="To" />
        </div>
      )}
    </form>
  );
}

const NOTHING: { [Name in keyof Filter]: undefined } = {
  text: undefined,
  state: undefined,
  type: undefined,
  handler: undefined,
  subject: undefined,
  id: undefined,
  since: undefined,
  until: undefined,
};

function SearchBox() {
  const typed = useSignal(filter.value.text ?? "");
  const timer = useSignal<ReturnType<typeof setTimeout> | undefined>(undefined);
  useSignalEffect(() => {
    typed.value = filter.value.text ?? "";
  });
  const take = (text: string) => {
    clearTimeout(timer.peek());
    narrow({ text: undefined, ...readText(text) }, { replace: true });
  };
  return (
    <label class="search">
      <span class="visually-hidden">Search payloads, ids, types and subjects</span>
      <input
        id="search"
        type="search"
        placeholder="Search, or paste an id"
        autocomplete="off"
        spellcheck={false}
        maxLength={200}
        value={typed.value}
        onInput={({ currentTarget: { value } }) => {
          typed.value = value;
          clearTimeout(timer.peek());
          timer.value = setTimeout(() => take(value), TYPING_MS);
        }}
        onChange={({ currentTarget: { value } }) => take(value)}
      />
    </label>
  );
}

interface Field {
  name: keyof Filter;
  label: string;
}

function SelectField({ name, label, any, choices }: Field & { any: string; choices: Record<string, string> }) {
  const value = filter.value[name] ?? "";
  return (
    <label class={value ? "set" : ""}>
      <span class="visually-hidden">{label}</span>
      <select value={value} onChange={({ currentTarget }) => narrow({ [name]: currentTarget.value || undefined })}>
        <option value="">{any}</option>
        {Object.entries(choices).map(([choice, label]) => (
          <option key={choice} value={choice}>
            {label}
          </option>
        ))}
      </select>
    </label>
  );
}

function TextField({ name, label, hint, list }: Field & { hint: string; list?: readonly string[] }) {
  const value = useComputed(() => filter.value[name] ?? "");
  // Keeps typed text across renders. It becomes the filter when it is complete.
  const typed = useSignal(value.peek());
  useSignalEffect(() => {
    typed.value = value.value;
  });
  return (
    <label class={value.value ? "set written" : "written"}>
      <span class={list ? "visually-hidden" : ""}>{label}</span>
      <input
        value={typed.value}
        placeholder={hint}
        list={list && `${name}-list`}
        autocomplete="off"
        spellcheck={false}
        onInput={({ currentTarget }) => (typed.value = currentTarget.value)}
        onChange={({ currentTarget }) => narrow({ [name]: currentTarget.value.trim() || undefined })}
      />
      {list && (
        <datalist id={`${name}-list`}>
          {list.map((suggestion) => (
            <option key={suggestion} value={suggestion} />
          ))}
        </datalist>
      )}
    </label>
  );
}

function TimeField({ name, label }: Field & { name: "since" | "until" }) {
  const value = filter.value[name];
  return (
    <label>
      <span>{label}</span>
      <input
        type="datetime-local"
        value={isMoment(value) ? value : ""}
        onChange={({ currentTarget }) => narrow({ [name]: currentTarget.value || undefined })}
      />
    </label>
  );
}

function isMoment(text: string | undefined): boolean {
  return text !== undefined && /^\d{4}-/.test(text);
}

/** All event types, each kind's pattern before its events: `user.*`, `user.created`, … */
function typesOf(samples: readonly string[]): string[] {
  return [...new Set(samples.flatMap((type) => [`${type.split(".")[0]}.*`, type]))];
}

function handlersOf(chosen: string | undefined): Record<string, string> {
  const names = (handlers.value ?? []).map(({ name }) => name);
  return Object.fromEntries([...new Set([...names, ...(chosen ? [chosen] : [])])].map((name) => [name, name]));
}

function spansOf(chosen: string | undefined): Record<string, string> {
  return chosen && !(chosen in SPANS) ? { ...SPANS, [chosen]: `since ${chosen.replace("T", " ")}` } : SPANS;
}
