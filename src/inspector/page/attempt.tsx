// One attempt of a run: how it ended, the error with the lines of code that threw it, and what it wrote to its log.

import type { AttemptJson, CodeFrame } from "../types.ts";
import { Copy, Time } from "./parts.tsx";
import { duration } from "./time.ts";

const OUTCOMES: Record<string, string> = {
  done: "done",
  retry: "failed",
  dead: "failed, and was given up on",
  skipped: "skipped",
  interrupted: "ended with its process",
  postponed: "put off: its database could not be had",
  released: "given back",
};

export function Attempt({ attempt, open }: { attempt: AttemptJson; open: boolean }) {
  const { attempt: number, outcome, startedAt, took, error, frame, log } = attempt;
  return (
    <li class={`attempt ${outcome}`}>
      <details open={open}>
        <summary>
          <span>
            Attempt {number}: <b>{OUTCOMES[outcome] ?? outcome}</b>
          </span>
          <span class="faint">
            <Time at={startedAt} /> · {duration(took)}
          </span>
        </summary>
        {error && <Thrown error={error} />}
        {frame && <Frame frame={frame} />}
        {log && log.length > 0 && <Log lines={log} />}
        {!error && !(log && log.length > 0) && <p class="faint">It wrote nothing to its log.</p>}
      </details>
    </li>
  );
}

function Thrown({ error }: { error: NonNullable<AttemptJson["error"]> }) {
  const { name, message, stack } = error;
  return (
    <div class="thrown">
      <p>
        <b>{name}</b>: <span class="message">{message}</span>
      </p>
      {stack !== undefined && (
        <details class="stack">
          <summary>Stack</summary>
          <pre tabIndex={0}>{stack}</pre>
          <Copy text={stack} what="the stack" />
        </details>
      )}
    </div>
  );
}

function Frame({ frame }: { frame: CodeFrame }) {
  const { file, line, column, source, changed } = frame;
  const place = `${file}:${line}:${column}`;
  return (
    <figure class="frame">
      <figcaption>
        <code>{place}</code> <Copy text={place} what="the place" />
        {changed === true && (
          <span class="warn"> The file was saved after this attempt: it may have been other code that threw.</span>
        )}
      </figcaption>
      <pre tabIndex={0}>
        {source.map(({ number, text }) => (
          <span key={number} class={number === line ? "line thrown-here" : "line"}>
            <span class="line-number" aria-hidden="true">
              {number === line ? "▸" : " "}
              {String(number).padStart(4)}
            </span>
            {number === line && <span class="unseen">Thrown here: </span>}
            {number === line ? <mark>{text}</mark> : text}
            {"\n"}
          </span>
        ))}
      </pre>
    </figure>
  );
}

function Log({ lines }: { lines: NonNullable<AttemptJson["log"]> }) {
  return (
    <ol class="log" aria-label="Log">
      {lines.map(({ level, message }, index) => (
        <li key={index} class={level}>
          <span class="level">{level}</span>
          <pre>{message}</pre>
        </li>
      ))}
    </ol>
  );
}
