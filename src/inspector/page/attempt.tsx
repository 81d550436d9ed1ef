// The attempts of a run: how each ended and the waits between them, with the error, the code that threw it, and the log.
// Attempts that failed with the same error in a row are shown once.

import type { AttemptJson } from "../../api/types.ts";
import { formatDuration } from "../../duration.ts";
import { Frame } from "./code.tsx";
import { Copy, Time } from "./components.tsx";

const OUTCOMES: Record<string, string> = {
  done: "done",
  retry: "failed",
  dead: "failed for good",
  skipped: "skipped",
  interrupted: "interrupted by a crash",
  postponed: "postponed: the database was unavailable",
  released: "released",
};

interface AttemptsProps {
  attempts: readonly AttemptJson[];
  isOpen: boolean;
}

export function Attempts({ attempts, isOpen }: AttemptsProps) {
  if (attempts.length === 0) return null;
  const groups = groupsOf(attempts);
  return (
    <>
      {attempts.length > 1 && <Waits attempts={attempts} />}
      <ol class="stack">
        {groups.toReversed().map((group, index) => (
          <Group key={group[0]?.attempt} group={group} open={isOpen && index === 0} />
        ))}
      </ol>
    </>
  );
}

/** `1 ✕ +5 s 2 ✕ +20 s 3 ✓` */
function Waits({ attempts }: { attempts: readonly AttemptJson[] }) {
  return (
    <ol class="row tight small" aria-label="Attempts and the waits between them">
      {attempts.map(({ attempt, startedAt, outcome }, index) => {
        const before = attempts[index - 1];
        const wait = before && startedAt - before.startedAt - before.took;
        return (
          <li key={attempt} class="box">
            {wait !== undefined && wait > 0 && <span class="faint">+{formatDuration(wait)} </span>}
            {attempt} <span aria-hidden="true">{outcome === "done" ? "✓" : "✕"}</span>
            <span class="visually-hidden">{OUTCOMES[outcome] ?? outcome}</span>
          </li>
        );
      })}
    </ol>
  );
}

/** Pure: attempts in a row that failed with the same error and logged the same. */
export function groupsOf(attempts: readonly AttemptJson[]): AttemptJson[][] {
  const groups: AttemptJson[][] = [];
  for (const attempt of attempts) {
    const group = groups.at(-1);
    if (group?.[0] && attempt.error && same(group[0], attempt)) group.push(attempt);
    else groups.push([attempt]);
  }
  return groups;
}

function same(one: AttemptJson, other: AttemptJson): boolean {
  const key = ({ error, log = [], outcome }: AttemptJson) =>
    JSON.stringify([error?.name, error?.message, log, outcome === "dead" ? "retry" : outcome]);
  return key(one) === key(other);
}

interface GroupProps {
  group: readonly AttemptJson[];
  open: boolean;
}

function Group({ group, open }: GroupProps) {
  const last = group.at(-1)!;
  const { attempt: number, outcome, startedAt, took, error, frame, log } = last;
  const numbers = group.length > 1 ? `Attempts ${group[0]?.attempt}–${number}` : `Attempt ${number}`;
  return (
    <li class={`attempt ${outcome}`}>
      <details open={open}>
        <summary>
          <span>
            {numbers}: <b>{OUTCOMES[outcome] ?? outcome}</b>
            {group.length > 1 && `, ${group.length} × the same error`}
          </span>{" "}
          <span class="faint">
            <Time at={startedAt} /> · {formatDuration(took)}
          </span>
        </summary>
        {error && <Thrown error={error} />}
        {frame && <Frame frame={frame} />}
        {log && log.length > 0 && <Log lines={log} />}
        {error?.stack !== undefined && <Stack stack={error.stack} />}
        {!error && !(log && log.length > 0) && <p class="faint">Its log is empty.</p>}
      </details>
    </li>
  );
}

export function Thrown({ error }: { error: NonNullable<AttemptJson["error"]> }) {
  const { name, message, causes = [] } = error;
  return (
    <div class="thrown">
      <p>
        <b class="bad">{name}</b>: <span class="message wrap">{message}</span>
      </p>
      {causes.map((cause, index) => (
        <p key={index} class="cause">
          caused by <b class="bad">{cause.name}</b>: <span class="message wrap">{cause.message}</span>{" "}
          {cause.at !== undefined && <code>{cause.at}</code>}
        </p>
      ))}
    </div>
  );
}

function Stack({ stack }: { stack: string }) {
  return (
    <details>
      <summary>Stack</summary>
      <pre class="stack-text" tabIndex={0}>
        {stack}
      </pre>
      <Copy text={stack} what="the stack" />
    </details>
  );
}

export function Log({ lines }: { lines: NonNullable<AttemptJson["log"]> }) {
  return (
    <ol class="log" aria-label="Log">
      {lines.map(({ level, message }, index) => (
        <li key={index} class={`row${level === "warn" || level === "error" ? " warn" : ""}`}>
          <span class="level faint small">{level}</span>
          <pre class="wrap grow">{message}</pre>
        </li>
      ))}
    </ol>
  );
}
