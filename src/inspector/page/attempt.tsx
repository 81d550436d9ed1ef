// One attempt of a run: how it ended, its error with the lines of code that threw it, and its log.

import type { AttemptJson, CodeFrame } from "../../api/types.ts";
import { formatDuration } from "../../duration.ts";
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
            <Time at={startedAt} /> · {formatDuration(took)}
          </span>
        </summary>
        {error && <Thrown error={error} />}
        {frame && <Frame frame={frame} />}
        {log && log.length > 0 && <Log lines={log} />}
        {!error && !(log && log.length > 0) && <p class="faint">Its log is empty.</p>}
      </details>
    </li>
  );
}

function Thrown({ error }: { error: NonNullable<AttemptJson["error"]> }) {
  const { name, message, stack, causes = [] } = error;
  return (
    <div class="thrown">
      <p>
        <b>{name}</b>: <span class="message">{message}</span>
      </p>
      {causes.map((cause, index) => (
        <p key={index} class="cause">
          caused by <b>{cause.name}</b>: <span class="message">{cause.message}</span>{" "}
          {cause.at !== undefined && <code>{cause.at}</code>}
        </p>
      ))}
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
  // In a file that was saved since, this line may have been fixed or moved.
  const thrownAt = changed === true ? null : line;
  return (
    <figure class="frame">
      <figcaption>
        <code>{place}</code> <Copy text={place} what="the place" />
        {changed === true && (
          <span class="warn"> The file was saved after this attempt and is shown as it is now: other code threw.</span>
        )}
      </figcaption>
      <pre tabIndex={0}>
        {source.map(({ number, text }) => (
          <span key={number} class={number === thrownAt ? "line thrown-here" : "line"}>
            <span class="line-number" aria-hidden="true">
              {number === thrownAt ? "▸" : " "}
              {String(number).padStart(4)}
            </span>
            {number === thrownAt && <span class="visually-hidden">Thrown here: </span>}
            {number === thrownAt ? <mark>{text}</mark> : text}
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
