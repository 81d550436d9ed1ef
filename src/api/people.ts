// Finds the users whom a text may mean: an id, an e-mail address, a phone number or a name. Reads the payloads of
// `user.*` events, newest first, for a bounded time.

import type { Inbox } from "../inbox/inbox.ts";
import { search } from "./search.ts";
import type { PeopleJson, PersonJson } from "./types.ts";
import { fields, namesOf } from "./who.ts";

const MAX_PEOPLE = 5;
const PAGE = 20;

export async function findPeople(
  inbox: Pick<Inbox, "list" | "contents">,
  text: string,
  { before, signal }: { before: number | null; signal: AbortSignal },
): Promise<PeopleJson> {
  // A name is in two fields, so its first word is searched, and the whole compared afterwards.
  const [word = text] = text.trim().split(/\s+/);
  const { deliveries, next } = await search(inbox, {
    texts: [word],
    filter: { type: "user.*" },
    before,
    searched: 0,
    limit: PAGE,
    signal,
  });
  const people = new Map<string, PersonJson>();
  const wanted = text.trim().toLowerCase();
  for (const { arrival, body } of await inbox.contents(deliveries.map((delivery) => delivery.arrival))) {
    const person = body && personIn(body);
    if (!person || people.size === MAX_PEOPLE) continue;
    const known = people.get(person.id);
    // The newest payload is shown; the addresses of older ones are searched too.
    if (known) known.names = [...new Set([...known.names, ...person.names])];
    else if ([person.id, ...person.names].some((name) => name.toLowerCase().includes(wanted)))
      people.set(person.id, { ...person, arrival });
  }
  return { people: [...people.values()].toSorted((a, b) => b.arrival - a.arrival), next };
}

function personIn(body: Uint8Array): Omit<PersonJson, "arrival"> | null {
  try {
    const { data } = JSON.parse(new TextDecoder().decode(body)) as { data?: unknown };
    const user = fields(data);
    return typeof user["id"] === "string" ? { id: user["id"], names: namesOf(user) } : null;
  } catch {
    return null;
  }
}
