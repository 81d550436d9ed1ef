// Which deliveries are of which subject. Subjects come in any order, and an index that is kept with each delivery would
// change a page for each: here many are sorted first, and written a few at a time, so that neighbours share a page. Until
// then they are in memory. After a crash the deliveries beyond a mark are looked through.

import type { Statements } from "./statements.ts";

type Entry = [subject: string, seq: number];

export type Subjects = ReturnType<typeof createSubjects>;

const MANY = 2_048;
// Twice as many as come meanwhile: they are through before as many wait again.
const FOR_EACH = 2;

export function createSubjects(sql: Statements) {
  /** In the order of arrival. */
  let coming: Entry[] = [];
  /** Sorted, the last one first; all that is in it came from `fillingFrom` on. */
  let filling: Entry[] = [];
  let fillingFrom = 0;
  /** Of subjects with deliveries that are not in the table: how many, and the last two of all. */
  const fresh = new Map<string, { waiting: number; last: number[] }>();
  let came = 0;
  let newest = sql.newestDelivery.get()?.seq ?? 0;
  let saved = sql.meta.get("subjects")?.value ?? 0;
  for (const { seq, subject } of sql.unsorted.all(saved)) add(seq, subject);

  function add(seq: number, subject: string) {
    coming.push([subject, seq]);
    const others = fresh.get(subject);
    fresh.set(subject, { waiting: (others?.waiting ?? 0) + 1, last: [...(others?.last ?? []), seq].slice(-2) });
  }

  function isWritten(subject: string) {
    const others = fresh.get(subject);
    if (!others) return;
    others.waiting -= 1;
    if (others.waiting === 0) fresh.delete(subject);
  }

  function write(many: number) {
    for (let left = many; left > 0; left -= 1) {
      const entry = filling.pop();
      if (!entry) break;
      sql.ofSubject.run(...entry);
      isWritten(entry[0]);
    }
    const first = filling.length > 0 ? fillingFrom : (coming[0]?.[1] ?? newest + 1);
    if (first - 1 !== saved) sql.setMeta.run("subjects", (saved = first - 1));
  }

  function sort() {
    fillingFrom = coming[0]?.[1] ?? newest + 1;
    filling = coming.toSorted(([a, first], [b, second]) => (a === b ? second - first : a < b ? 1 : -1));
    coming = [];
  }

  return {
    stored(seq: number, subject: string | null) {
      newest = seq;
      if (subject === null) return;
      came += 1;
      add(seq, subject);
    },

    /** The last two deliveries of a subject. */
    latest(subject: string): number[] {
      const { last } = fresh.get(subject) ?? { last: [] };
      if (last.length === 2) return last;
      return [...new Set([...sql.latest.all(subject).map(({ seq }) => seq), ...last])].slice(-2);
    },

    /** Whether there is a delivery of this subject that the table does not know yet. */
    isFresh: (subject: string): boolean => fresh.has(subject),

    /** A delivery is gone. */
    drop(subject: string, seq: number) {
      sql.notOfSubject.run(subject, seq);
      if (!fresh.has(subject)) return;
      const before = coming.length + filling.length;
      coming = coming.filter(([, each]) => each !== seq);
      filling = filling.filter(([, each]) => each !== seq);
      if (coming.length + filling.length < before) isWritten(subject);
    },

    /** Part of every commit. */
    writeSome() {
      if (filling.length === 0 && coming.length >= MANY) sort();
      if (filling.length > 0) write(FOR_EACH * came);
      came = 0;
    },

    get any() {
      return fresh.size > 0;
    },

    /** For whoever looks at the table. */
    writeAll() {
      write(Infinity);
      sort();
      write(Infinity);
    },
  };
}
