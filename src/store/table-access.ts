// The access to the store that a part of the inbox is given.

import type { Reader, Transaction } from "./store.ts";

export interface Access {
  read: Reader;
  /** One commit. */
  write: <T>(body: (transaction: Transaction) => Promise<T>) => Promise<T>;
  /** The inbox's clock, in milliseconds. */
  now: () => number;
}

/** Runs commits of bounded size, one after the other, until `step` returns false. */
export async function inSteps(
  { write }: Pick<Access, "write">,
  step: (transaction: Transaction) => Promise<boolean>,
): Promise<void> {
  while (await write(step));
}
