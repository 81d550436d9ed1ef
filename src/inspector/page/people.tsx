// The users whom the searched text may mean, above the list. When there is exactly one, the list also shows what names
// them by another of their ids and addresses.

import { signal, untracked, useSignalEffect } from "@preact/signals";

import type { PersonJson } from "../../api/types.ts";
import { api } from "./api.ts";
import { SubjectLink } from "./components.tsx";
import { alsoSearched, loadNewest } from "./rows.ts";
import { filter } from "./state.ts";

const found = signal<readonly PersonJson[]>([]);

const MAX_SHOWN = 5;

export function People() {
  useSignalEffect(() => {
    const { text } = filter.value;
    const controller = new AbortController();
    untracked(() => {
      found.value = [];
      alsoSearched.value = [];
      if (text) void look(text, controller.signal);
    });
    return () => controller.abort();
  });
  const { text } = filter.value;
  if (!text) return null;
  const isId = /^(?:user|org)_\w+$/.test(text);
  if (found.value.length === 0 && !isId) return null;
  return (
    <ul class="row" aria-label="People">
      {found.value.map(({ id, names }) => (
        <li key={id} class="box row">
          <SubjectLink id={id} name={names[0] ?? id} />
          <span class="faint">{names[1]}</span>
        </li>
      ))}
      {found.value.length === 0 && (
        <li class="box">
          <SubjectLink id={text} name={`Everything about ${text}`} />
        </li>
      )}
    </ul>
  );
}

async function look(text: string, aborted: AbortSignal) {
  const people = await findPeople(text, aborted, (some) => (found.value = some.slice(0, MAX_SHOWN))).catch(() => []);
  const [person] = people;
  if (aborted.aborted || !person || people.length > 1) return;
  alsoSearched.value = textsOf(person).filter((other) => other !== text);
  if (alsoSearched.value.length > 0) await loadNewest();
}

/** Everything that names a person: their id and addresses, not their name, which others may have too. */
export function textsOf({ id, names }: Pick<PersonJson, "id" | "names">): string[] {
  return [id, ...names.filter((name) => name.includes("@") || name.startsWith("+"))];
}

/** Reads all events of users, in several answers. */
export async function findPeople(
  text: string,
  aborted: AbortSignal,
  onFound: (people: readonly PersonJson[]) => void = () => {},
): Promise<PersonJson[]> {
  const people = new Map<string, PersonJson>();
  for (let before: number | null | undefined; before !== null && people.size <= MAX_SHOWN;) {
    const page = await api.people({ text, ...(before !== undefined && { before }) }, aborted);
    for (const person of page.people) {
      const known = people.get(person.id);
      if (known) known.names = [...new Set([...known.names, ...person.names])];
      else people.set(person.id, person);
    }
    if (aborted.aborted) return [];
    if (page.people.length > 0) onFound([...people.values()]);
    before = page.next;
  }
  return [...people.values()];
}
