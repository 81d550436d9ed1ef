// Small things that many views show: a chip, a mark, a time, a countdown, a button that copies.

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";

import type { DeliverySummary } from "../../inbox/queries.ts";
import { attempt, now } from "./state.ts";
import { ago, clock, countdown, exact } from "./time.ts";
import type { Chip, Mark } from "./words.ts";

const COPIED_MS = 1_500;

/** `label` stands next to the sign; `of` is said before the sentence to those who listen. */
export function StateChip({ chip, label, of }: { chip: Chip; label: string; of?: string }) {
  const says = of ? `${of}: ${chip.says}` : chip.says;
  return (
    <span class={`chip ${chip.tone}`} title={says}>
      <span class="sign" aria-hidden="true">
        {chip.sign}
      </span>
      <span aria-hidden="true">{label}</span>
      <span class="unseen">{says}</span>
    </span>
  );
}

export function Marks({ marks, receipts }: { marks: readonly Mark[]; receipts: DeliverySummary["receipts"] }) {
  return (
    <>
      {marks.map(({ name, word, says }) => (
        <span key={name} class={`mark ${name}`} title={says}>
          {name === "duplicate" ? `${word} ×${receipts}` : word}
        </span>
      ))}
    </>
  );
}

/** A moment on the reader's clock; to the millisecond when pointed at. */
export function Time({ at }: { at: number }) {
  return (
    <time dateTime={new Date(at).toISOString()} title={exact(at)}>
      {clock(at, Date.now())}
    </time>
  );
}

export function Ago({ at }: { at: number }) {
  return (
    <time dateTime={new Date(at).toISOString()} title={exact(at)}>
      {ago(at, now.value)}
    </time>
  );
}

/** Counts down by itself. */
export function Countdown({ until }: { until: number }) {
  return <span class="countdown">{countdown(until, now.value)}</span>;
}

export function Copy({ text, what }: { text: string | (() => string); what: string }) {
  const copied = useSignal(false);
  const copy = () =>
    attempt(async () => {
      await navigator.clipboard.writeText(typeof text === "string" ? text : text());
      copied.value = true;
      setTimeout(() => {
        copied.value = false;
      }, COPIED_MS);
    });
  return (
    <button type="button" class="copy" title={`Copy ${what}`} onClick={() => void copy()}>
      {copied.value ? <span aria-hidden="true">✓</span> : <CopyIcon />}
      <span class="unseen" aria-live="polite">
        {copied.value ? "Copied" : `Copy ${what}`}
      </span>
    </button>
  );
}

function CopyIcon() {
  return (
    <svg
      viewBox="0 0 16 16"
      width="13"
      height="13"
      fill="none"
      stroke="currentColor"
      stroke-width="1.3"
      aria-hidden="true"
    >
      <path d="M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z" />
    </svg>
  );
}

/** A command or an address, ready to be copied. */
export function Snippet({ text }: { text: string }) {
  return (
    <span class="snippet">
      <code>{text}</code>
      <Copy text={text} what={text} />
    </span>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}
