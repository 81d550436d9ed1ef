// Everything about one user or organization: all events that name it, of all kinds, with what changed between them.

import { useSignal, useSignalEffect } from "@preact/signals";
import { useEffect } from "preact/hooks";

import type { ChangesJson, ListedDelivery } from "../../api/types.ts";
import { count } from "../../count.ts";
import { messageOf } from "../../errors.ts";
import { api } from "./api.ts";
import { Changes } from "./changes.tsx";
import { Copy, Marks, Time } from "./components.tsx";
import { errorOf, marksOf } from "./labels.ts";
import { dashboardUrl } from "./links.ts";
import { findPeople, textsOf } from "./people.tsx";
import { Empty, Failed } from "./remote.tsx";
import { Chips } from "./row.tsx";
import { filter, narrow, NOTHING } from "./state.ts";
import { writeView } from "./view-url.ts";

const PAGE = 100;

export function Person({ id }: { id: string }) {
  const names = useSignal<readonly string[]>([]);
  const events = useSignal<readonly ListedDelivery[]>([]);
  const state = useSignal<{
    searched: number;
    next: number | null | undefined;
    isSearching: boolean;
    trouble: string | null;
  }>({ searched: 0, next: undefined, isSearching: true, trouble: null });
  const controller = useSignal(new AbortController()).peek();
  useEffect(() => () => controller.abort(), []);

  const load = async () => {
    const { signal: aborted } = controller;
    state.value = { ...state.value, isSearching: true, trouble: null };
    try {
      const [person] = id.startsWith("user_") && names.peek().length === 0 ? await findPeople(id, aborted) : [];
      if (person) names.value = person.names;
      const texts = textsOf({ id, names: [...names.peek()] });
      const until = events.peek().length + PAGE;
      while (state.peek().next !== null && events.peek().length < until && state.peek().isSearching) {
        const { next, searched } = state.peek();
        const also = texts.slice(1).join("\n");
        const query = { text: id, searched, limit: PAGE, ...(also && { also }), ...(next != null && { before: next }) };
        const page = await api.search(query, aborted);
        if (aborted.aborted) return;
        events.value = [...events.value, ...page.deliveries];
        state.value = { ...state.value, searched: page.searched, next: page.next };
      }
      state.value = { ...state.value, isSearching: false };
    } catch (error) {
      if (!aborted.aborted) state.value = { ...state.value, isSearching: false, trouble: messageOf(error) };
    }
  };
  useEffect(() => void load(), []);

  const sorted = events.value.toSorted((a, b) => b.at - a.at || b.arrival - a.arrival);
  const about = sorted.find(({ who, subject }) => subject === id && who)?.who;
  const title = names.value[0] ?? about?.name ?? sorted.map(({ who }) => who?.name).find(Boolean) ?? id;
  const dashboard = dashboardUrl(id);
  const { searched, next, isSearching, trouble } = state.value;
  return (
    <section class="page stack" aria-labelledby="person-heading">
      <header class="row">
        <h1 id="person-heading" tabIndex={-1}>
          {title}
        </h1>
        <p class="row facts">
          {names.value.slice(1).map((name) => (
            <span key={name}>{name}</span>
          ))}
          <span>
            <code>{id}</code> <Copy text={id} what="the id" />
          </span>
          {dashboard !== null && (
            <a href={dashboard} target="_blank" rel="noreferrer">
              Clerk Dashboard ↗
            </a>
          )}
          <button type="button" class="bare accent" onClick={() => narrow({ ...NOTHING, text: id })}>
            Show in the list
          </button>
        </p>
      </header>
      <ol aria-label="Events, newest first">
        {sorted.map((event) => (
          <Event key={event.id} event={event} />
        ))}
      </ol>
      {trouble !== null && <Failed what="The events" why={trouble} retry={load} />}
      {!isSearching && trouble === null && sorted.length === 0 && <Empty title="No stored event names it" />}
      <p class="row faint" role="status">
        {isSearching ? "Searching" : count(sorted.length, "event")}: searched {next === null ? "all" : "the newest"}{" "}
        {searched.toLocaleString("en")}.{" "}
        {isSearching ? (
          <button type="button" onClick={() => (state.value = { ...state.value, isSearching: false })}>
            Stop
          </button>
        ) : (
          next !== null && (
            <button type="button" onClick={() => void load()}>
              Search further
            </button>
          )
        )}
      </p>
    </section>
  );
}

function Event({ event }: { event: ListedDelivery }) {
  const { id, type, at, runs, receipts } = event;
  const error = errorOf(runs);
  return (
    <li class="event">
      <span class="faint">
        <Time at={at} />
      </span>
      <div>
        <p>
          <a data-row={id} href={writeView({ page: "deliveries", id, problem: null, filter: filter.peek() })}>
            {type}
          </a>{" "}
          <span class="chips">
            <Chips type={type} runs={runs} /> <Marks marks={marksOf(event)} receipts={receipts} />
          </span>
        </p>
        {error !== null && <p class="bad">{error}</p>}
        {/updated|revoked|ended|removed/.test(type) && <EventChanges id={id} />}
      </div>
    </li>
  );
}

/** Answers are kept: a payload never changes. */
const known = new Map<string, ChangesJson>();

function EventChanges({ id }: { id: string }) {
  const changes = useSignal<ChangesJson | null>(known.get(id) ?? null);
  useSignalEffect(() => {
    if (changes.peek() !== null) return;
    api.changes(id).then(
      (answer) => {
        known.set(id, answer);
        changes.value = answer;
      },
      () => undefined,
    );
  });
  return changes.value === null ? null : <Changes of={changes.value} />;
}
