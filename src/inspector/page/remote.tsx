// Data of the server in one of four states: loading, failed, empty or present. Every view shows them in the same way, so
// that a failed request never looks like an empty answer.

import { batch, type Signal, signal } from "@preact/signals";
import type { ComponentChildren } from "preact";

import { messageOf } from "../../errors.ts";
import { ApiError, signedOut } from "./api.ts";

export interface Remote<Value> {
  /** The last answer; it stays when a later request fails. */
  value: Signal<Value | null>;
  isLoading: Signal<boolean>;
  /** Why the last request failed. */
  trouble: Signal<string | null>;
  load: () => Promise<void>;
  /** Forgets the answer, and ignores those of earlier requests. */
  clear: () => void;
}

export function remote<Value>(ask: (signal: AbortSignal) => Promise<Value>): Remote<Value> {
  const value = signal<Value | null>(null);
  const isLoading = signal(false);
  const trouble = signal<string | null>(null);
  let controller = new AbortController();
  return {
    value,
    isLoading,
    trouble,
    async load() {
      controller.abort();
      controller = new AbortController();
      const current = controller.signal;
      isLoading.value = true;
      const answer = await ask(current).then(
        (found) => ({ found }),
        (error: unknown) => ({ error }),
      );
      if (current.aborted) return;
      batch(() => {
        isLoading.value = false;
        trouble.value = "error" in answer ? describe(answer.error) : null;
        if ("found" in answer) value.value = answer.found;
      });
    },
    clear() {
      controller.abort();
      batch(() => {
        value.value = null;
        isLoading.value = false;
        trouble.value = null;
      });
    },
  };
}

function describe(error: unknown): string {
  if (!(error instanceof ApiError)) console.error(error);
  return messageOf(error);
}

interface ShowProps<Value> {
  of: Remote<Value>;
  /** In a sentence: `The handlers could not be loaded.` */
  what: string;
  isEmpty?: (value: Value) => boolean;
  /** Shown when the answer is empty. */
  empty?: ComponentChildren;
  /** The classes of the element around it. */
  layout?: string;
  children: (value: Value) => ComponentChildren;
}

export function Show<Value>({ of, what, isEmpty, empty, layout, children }: ShowProps<Value>) {
  const value = of.value.value;
  const trouble = of.trouble.value;
  if (value === null) return trouble === null ? <Skeleton /> : <Failed what={what} why={trouble} retry={of.load} />;
  return (
    <div class={layout} aria-busy={of.isLoading.value}>
      {trouble !== null && <Failed what={what} why={trouble} retry={of.load} />}
      {isEmpty?.(value) ? empty : children(value)}
    </div>
  );
}

export function Failed({ what, why, retry }: { what: string; why?: string | null; retry: () => Promise<void> }) {
  if (signedOut.value) return null;
  return (
    <div class="failed bad" role="alert">
      <p>
        {what} could not be loaded. {why}
      </p>
      <button type="button" onClick={() => void retry()}>
        Retry
      </button>
    </div>
  );
}

/** Appears only after a moment, so that a quick answer does not flicker. */
export function Skeleton() {
  return (
    <div class="skeleton stack loose pad" role="status">
      <span class="visually-hidden">Loading…</span>
      <span aria-hidden="true" />
      <span aria-hidden="true" />
      <span aria-hidden="true" />
    </div>
  );
}

/** One sentence and at most one button. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <h2 class="heading">{title}</h2>
      {children}
    </div>
  );
}
