// Operations of the inbox, as its group commit sees them.

import type { Transaction } from "../store/store.ts";
import type { Claim } from "./inbox.ts";

/** The free slots of a server while one transaction lasts, and what the transaction has claimed into them. */
export interface Room {
  readonly owner: string;
  readonly slots: Map<string, number>;
  readonly exclusive: boolean;
  /** Handlers whose due runs are not left for another server. */
  readonly paused: ReadonlySet<string>;
  readonly claimed: Claim["runs"];
}

/** Operations of one kind, which are applied together. */
export interface OperationKind<Input, Output> {
  /** Kinds with a lower number are applied first. */
  order: number;
  /** True if it always writes, so that its commit proves the store can be written. */
  writes?: boolean;
  /** No client waits for it. While deliveries arrive, it shares the commit of the next one. */
  patient?: boolean;
  apply(transaction: Transaction, inputs: readonly Input[], room: Room | undefined): Promise<Output[]>;
  /** The answer when the operation is repeated after a commit that failed, but may have become durable. */
  repeated?(earlier: Output, now: Output): Output;
}

export interface Operation {
  kind: OperationKind<unknown, unknown>;
  input: unknown;
  result?: { value: unknown } | undefined;
  earlier?: { value: unknown };
  resolve: (value: never) => void;
  reject: (error: unknown) => void;
}
