// Marks a move of an inbox in `meta` of both databases, so that servers never start on both: not on a copy before it is
// complete, and not on the original after that.

import { COMMAND } from "../command.ts";
import { EXIT_CONFIG, UserError } from "../errors.ts";
import { saveValue } from "./meta.ts";
import { READER } from "./schema.ts";
import { query, type Reader, type Store } from "./store.ts";

interface Marks {
  /** On the original: a move has begun. */
  moving?: number;
  /** On the original: where it was moved to. */
  to?: { name: string; id: number };
  /** On the copy, until it is complete: what it is a copy of. */
  from?: { name: string; id: number };
}

// The value is a random number, the same on both sides. A server that starts on the original cancels the move by removing
// `move`, so that a copy that no longer has everything is never completed.
const [MOVING, TO, FROM] = ["move", "move to ", "move from "];
/** Keys that belong to a database, not to its inbox: the versions of its tables, and SQLite's write at each start. */
const STAYS = ["schema", READER, "starts"];

type MetaRow = { key: string; value: number };

const META = query({})`select key, value from meta`;
// As a range, which the key's index finds.
const MARKS = query({})`select key, value from meta where key >= '${MOVING}' and key < 'movf'`;
const CLEAR = query({})`delete from meta where key not in (${STAYS.map((key) => `'${key}'`).join(", ")})`;
const CANCEL = query({})`delete from meta where key = '${MOVING}'`;
const CLOSE = query({ id: "int" })`delete from meta where key = '${MOVING}' and value = :id`;
const OPEN = query({})`delete from meta where key like '${FROM}%'`;
// A server that was suspended would continue as the owner of its row. Without one, it can't register while there are marks.
const EVICT = query({})`${({ setBased }) => (setBased ? "delete from server" : "delete from meta where 1 = 0")}`;

/** Called before a server uses an inbox. Throws a `UserError` if it was moved away or is an incomplete copy. */
export async function refuseMoved(store: Store): Promise<void> {
  await store.transaction(async (transaction) => {
    // First: it waits for a move that closes this inbox now.
    await transaction.run(CANCEL, {});
    const { to, from } = await marksOf(transaction);
    if (to)
      throw new UserError(
        `The inbox was moved to ${to.name}.\n\n` +
          "    Start the server there: with INBOX_URL for Postgres, with DATA_DIR and no INBOX_URL for SQLite.",
        EXIT_CONFIG,
      );
    if (from) throw new UserError(describeIncomplete(from.name), EXIT_CONFIG);
  });
}

export function describeIncomplete(name: string): string {
  return (
    `The inbox is an incomplete copy of the one in ${name}: ${COMMAND} move was interrupted.\n\n` +
    `    Run ${COMMAND} move again, or remove the copy and start the server on the other one.`
  );
}

export async function marksOf(reader: Reader): Promise<Marks> {
  const marks: Marks = {};
  for (const { key, value: id } of await reader.all<MetaRow>(MARKS, {}))
    if (key === MOVING) marks.moving = id;
    else if (key.startsWith(TO)) marks.to = { name: key.slice(TO.length), id };
    else if (key.startsWith(FROM)) marks.from = { name: key.slice(FROM.length), id };
  return marks;
}

/** Marks both sides, and copies the rest of `meta`. Returns the number of the move. */
export async function markBegin(original: Store, copy: Store, from: string): Promise<number> {
  const id = crypto.getRandomValues(new Uint32Array(1))[0]!;
  await original.transaction(async (transaction) => {
    await saveValue(transaction, MOVING, id);
    await transaction.run(EVICT, {});
  });
  const rows = await original.read.all<MetaRow>(META, {});
  const moved = rows.filter(({ key }) => key !== MOVING && !STAYS.includes(key));
  await copy.transaction(async (transaction) => {
    await transaction.run(CLEAR, {});
    for (const { key, value } of moved) await saveValue(transaction, key, value);
    await saveValue(transaction, `${FROM}${from}`, id);
  });
  return id;
}

/** From here on no server starts on the original, and none yet on the copy. False if a server has cancelled the move. */
export async function markMoved(original: Store, id: number, to: string): Promise<boolean> {
  return original.transaction(async (transaction) => {
    if ((await transaction.run(CLOSE, { id })) === 0) return false;
    await saveValue(transaction, `${TO}${to}`, id);
    return true;
  });
}

export async function markComplete(copy: Store): Promise<void> {
  await copy.transaction((transaction) => transaction.run(OPEN, {}));
}
