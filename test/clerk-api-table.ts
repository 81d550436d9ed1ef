// The rows of one kind of object in the stand-in for Clerk's Backend API.

/** Rows by id. A sorted order is cached until a row changes. */
export class Table<Row extends { id: string }> extends Map<string, Row> {
  readonly #orders = new Map<string, readonly Row[]>();

  /** `idParameter` is the query parameter that filters by id. */
  constructor(readonly idParameter: string) {
    super();
  }

  override set(id: string, row: Row): this {
    this.#orders.clear();
    return super.set(id, row);
  }

  override delete(id: string): boolean {
    this.#orders.clear();
    return super.delete(id);
  }

  override clear(): void {
    this.#orders.clear();
    super.clear();
  }

  /** All rows, or those with the given ids, ascending; rows with equal keys stay in insertion order. */
  sortedBy(key: keyof Row & string, ids: string[] = []): readonly Row[] {
    const compare = (a: Row, b: Row) => (a[key] < b[key] ? -1 : a[key] > b[key] ? 1 : 0);
    if (ids.length > 0) return [...new Set(ids)].flatMap((id) => this.get(id) ?? []).toSorted(compare);
    const cached = this.#orders.get(key);
    // A test may have changed a row in place.
    if (cached?.every((row, i) => i === 0 || cached[i - 1]![key] <= row[key])) return cached;
    const sorted = [...this.values()].toSorted(compare);
    this.#orders.set(key, sorted);
    return sorted;
  }
}
