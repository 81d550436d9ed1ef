// Single numbers that the inbox saves under a name: its clock, the trusted time, how far retention has come.

import { query, type Reader, type Transaction } from "./store.ts";

const VALUE = query({ key: "text" })`select value from meta where key = :key`;

const SET = query({ key: "text", value: "int" })`
  insert into meta(key, value) values (:key, :value)
  on conflict(key) do update set value = excluded.value`;

const RAISE = query({ key: "text", value: "int" })`
  insert into meta(key, value) values (:key, :value)
  on conflict(key) do update set value = excluded.value where excluded.value > meta.value`;

export async function savedValue(reader: Reader, key: string): Promise<number | undefined> {
  const [row] = await reader.all<{ value: number }>(VALUE, { key });
  return row?.value;
}

export async function saveValue(transaction: Transaction, key: string, value: number): Promise<void> {
  await transaction.run(SET, { key, value });
}

/** Saves a value that never decreases: another server may have saved a later one. */
export async function raiseValue(transaction: Transaction, key: string, value: number): Promise<void> {
  await transaction.run(RAISE, { key, value });
}
