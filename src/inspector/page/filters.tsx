// The filter: a search box that also takes conditions as text, a few menus, and a removable pill for each condition.
// Each change goes to the page's URL at once, so that the view can be shared.

import { useSignal, useSignalEffect } from "@preact/signals";

import { type Filter, pillsOf, readText, STATES } from "./filter.ts";
import { rows } from "./rows.ts";
import { dialog, filter, handlers, narrow, narrowed, NOTHING, server } from "./state.ts";

const TYPING_MS = 400;
const SPANS = { "15m": "last 15 min", "1h": "last hour", "24h": "last 24 h", "7d": "last 7 days" };

export function Filters() {
  const pills = pillsOf(filter.value);
  return (
    <form class="filters row" role="search" aria-label="Filter deliveries" onSubmit={(event) => event.preventDefault()}>
      <SearchBox />
      <Menu name="state" label="State" choices={STATES} />
      <Menu name="type" label="Event" choices={typesOf(server.value?.samples ?? [])} />
      <Menu name="handler" label="Handler" choices={namesOf((handlers.value ?? []).map(({ name }) => name))} />
      <Menu name="since" label="Time" choices={SPANS} />
      <Moment />
      <ReplayThese />
      {pills.length > 0 && (
        <ul class="row tight" aria-label="Conditions">
          {pills.map(({ name, label }) => (
            <li key={name}>
              <button
                type="button"
                class="pill"
                title="Remove this condition"
                onClick={() => narrow({ [name]: undefined })}
              >
                {label} <span aria-hidden="true">×</span>
                <span class="visually-hidden">remove</span>
              </button>
            </li>
          ))}
          <li>
            <button type="button" class="subtle" onClick={() => narrow(NOTHING)}>
              Clear
            </button>
          </li>
        </ul>
      )}
    </form>
  );
}

/** Bulk replays need a condition: without one, everything that is stored would run again. */
function ReplayThese() {
  const isNarrowed = narrowed(filter.value);
  return (
    <button
      type="button"
      class="bulk"
      disabled={!isNarrowed || rows.value.deliveries.length === 0}
      title={isNarrowed ? "Run again what the list shows" : "Narrow the list first"}
      onClick={() => (dialog.value = "bulk")}
    >
      Replay these…
    </button>
  );
}

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
        placeholder="Name, e-mail, id, or state:dead handler:… since:7d"
        autocomplete="off"
        spellcheck={false}
        maxLength={200}
        value={typed.value}
        onInput={({ currentTarget: { value } }) => {
          typed.value = value;
          clearTimeout(timer.peek());
          // A condition is complete when it is followed by a blank or by enter.
          if (!/\b[a-z]+:\S*$/.test(value)) timer.value = setTimeout(() => take(value), TYPING_MS);
        }}
        onChange={({ currentTarget: { value } }) => take(value)}
        onKeyDown={({ key, currentTarget: { value } }) => {
          if (key === "Enter") take(value);
        }}
      />
    </label>
  );
}

interface MenuProps {
  name: keyof Filter;
  label: string;
  choices: Record<string, string>;
}

/** Adds a condition. Its current value is shown as a pill, so the menu itself always shows its name. */
function Menu({ name, label, choices }: MenuProps) {
  return (
    <select
      aria-label={label}
      class={filter.value[name] ? "set" : ""}
      value={filter.value[name] && filter.value[name] in choices ? filter.value[name] : ""}
      onChange={({ currentTarget }) => narrow({ [name]: currentTarget.value || undefined })}
    >
      <option value="">{label}</option>
      {Object.entries(choices).map(([choice, text]) => (
        <option key={choice} value={choice}>
          {text}
        </option>
      ))}
    </select>
  );
}

/** Goes to a date: the list begins there. */
function Moment() {
  const value = filter.value.until ?? "";
  return (
    <input
      type="datetime-local"
      aria-label="Received before"
      title="Received before"
      class={value ? "set" : ""}
      value={/^\d{4}-/.test(value) ? value : ""}
      onChange={({ currentTarget }) => narrow({ until: currentTarget.value || undefined })}
    />
  );
}

/** All event types, each kind's pattern before its events: `user.*`, `user.created`, … */
function typesOf(samples: readonly string[]): Record<string, string> {
  return namesOf(samples.flatMap((type) => [`${type.split(".")[0]}.*`, type]));
}

function namesOf(names: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, name]));
}
