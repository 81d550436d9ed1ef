// Small components of many views: chip, mark, time, countdown, copy button.

import { useSignal } from "@preact/signals";

import type { DeliverySummary } from "../../api/types.ts";
import type { Chip, Mark } from "./labels.ts";
import { dashboardUrl } from "./links.ts";
import { attempt, now } from "./state.ts";
import { ago, clock, countdown, exact } from "./time.ts";

const COPIED_MS = 1_500;

/** `label` is shown next to the sign; screen readers read `of` before the description. */
export function StateChip({ chip, label, of }: { chip: Chip; label: string; of?: string }) {
  const description = of ? `${of}: ${chip.description}` : chip.description;
  return (
    <span class={`chip ${chip.tone}`} title={description}>
      <span aria-hidden="true">{chip.sign}</span> <span aria-hidden="true">{label}</span>
      <span class="visually-hidden">{description}</span>
    </span>
  );
}

export function Marks({ marks, receipts }: { marks: readonly Mark[]; receipts: DeliverySummary["receipts"] }) {
  return (
    <>
      {marks.map(({ name, word, description }) => (
        <span key={name} class={`tiny ${name === "edited" ? "warn" : "faint"}`} title={description}>
          {name === "duplicate" ? `${word} ×${receipts}` : word}
        </span>
      ))}
    </>
  );
}

/** A local time, with milliseconds in its tooltip. */
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

/** A live countdown. */
export function Countdown({ until }: { until: number }) {
  return <span>{countdown(until, now.value)}</span>;
}

interface CopyProps {
  text: string | (() => string);
  what: string;
  /** Shown in place of the icon. */
  sign?: string;
  /** The tab key does not stop here. */
  isPointerOnly?: boolean;
}

export function Copy({ text, what, sign, isPointerOnly = false }: CopyProps) {
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
    <button
      type="button"
      class="copy bare faint"
      title={`Copy ${what}`}
      tabIndex={isPointerOnly ? -1 : 0}
      onClick={() => void copy()}
    >
      {copied.value || sign !== undefined ? <span aria-hidden="true">{copied.value ? "✓" : sign}</span> : <CopyIcon />}
      <span class="visually-hidden" aria-live="polite">
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

/** A command or URL with a copy button. */
export function Snippet({ text }: { text: string }) {
  return (
    <span class="box row tight raised">
      <code>{text}</code>
      <Copy text={text} what={text} />
    </span>
  );
}

/** A user or an organization: its timeline, its id to copy, and its page in Clerk's Dashboard. */
export function SubjectLink({ id, name }: { id: string; name?: string | null }) {
  const dashboard = dashboardUrl(id);
  return (
    <span>
      <a href={`#/person/${encodeURIComponent(id)}`} title="Everything about it">
        {name ?? <code>{id}</code>}
      </a>
      <Copy text={id} what={id} />
      {dashboard !== null && (
        <a class="small" href={dashboard} target="_blank" rel="noreferrer">
          Clerk ↗
        </a>
      )}
    </span>
  );
}
