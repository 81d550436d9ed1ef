// The handlers: their events, counts and durations, last errors, and why a file does not load.

import type { HandlerJson } from "../../api/types.ts";
import { formatDuration } from "../../duration.ts";
import { Ago, Empty, Snippet } from "./components.tsx";
import { Servers } from "./servers.tsx";
import { handlers, server, view } from "./state.ts";
import { percent } from "./time.ts";
import { writeView } from "./view-url.ts";

export function Handlers() {
  const all = handlers.value;
  const dir = server.value?.handlersDir ?? "";
  return (
    <section class="page" aria-labelledby="handlers-heading">
      <h1 id="handlers-heading" tabIndex={-1}>
        Handlers <span class="faint">figures since the server started</span>
      </h1>
      {all?.length === 0 && (
        <Empty title={`No handlers in ${dir}/ yet`}>
          <p>A handler is a file named after its event. This writes one:</p>
          <Snippet text={`${server.value?.command ?? "bun"} new user.created`} />
        </Empty>
      )}
      <ul class="handlers">
        {(all ?? []).toSorted(troubleFirst).map((handler) => (
          <Handler key={handler.name} handler={handler} dir={dir} />
        ))}
      </ul>
      <Servers />
    </section>
  );
}

function Handler({ handler, dir }: { handler: HandlerJson; dir: string }) {
  const { name, file, event, lane, options, error, warning, lastError } = handler;
  const runs = writeView({ page: "deliveries", id: null, filter: { handler: name } });
  return (
    <li class={error ? "broken" : ""}>
      <div class="about">
        <h2>
          <span class={`chip ${error ? "dead" : "done"}`}>
            <span class="sign" aria-hidden="true">
              {error ? "✕" : "✓"}
            </span>
            <span class="visually-hidden">{error ? "Does not load:" : "Loaded:"}</span>
          </span>{" "}
          <a href={runs} title="Its deliveries">
            {name}
          </a>
        </h2>
        <p class="faint">
          <code>
            {dir}/{file}
          </code>{" "}
          · event <code>{event}</code> · lane <code>{lane}</code>
          {Object.entries(options).map(([option, value]) => (
            <span key={option}>
              {" "}
              · {option} <code>{String(value)}</code>
            </span>
          ))}
        </p>
      </div>
      <Figures handler={handler} />
      {error && <Broken error={error} lastGoodRuns={handler.lastGoodRuns} />}
      {warning !== null && <p class="warn wide">{warning}</p>}
      {lastError && (
        <p class="wide last-error">
          <span class="faint">
            Last error <Ago at={lastError.at} />:
          </span>{" "}
          <a href={writeView({ ...view.value, page: "deliveries", id: lastError.delivery })}>{lastError.message}</a>
        </p>
      )}
    </li>
  );
}

function Figures({ handler: { ran, failed, p50, p99 } }: { handler: HandlerJson }) {
  const none = "–";
  return (
    <dl class="figures">
      <div>
        <dt>runs</dt>
        <dd>{ran.toLocaleString("en")}</dd>
      </div>
      <div class={failed > 0 ? "bad" : ""}>
        <dt>failed</dt>
        <dd title={`${failed.toLocaleString("en")} attempts`}>{percent(failed, ran)}</dd>
      </div>
      <div>
        <dt>p50</dt>
        <dd>{p50 === null ? none : formatDuration(p50)}</dd>
      </div>
      <div>
        <dt>p99</dt>
        <dd>{p99 === null ? none : formatDuration(p99)}</dd>
      </div>
    </dl>
  );
}

function Broken({ error, lastGoodRuns }: { error: NonNullable<HandlerJson["error"]>; lastGoodRuns: boolean }) {
  const { where, message, source } = error;
  return (
    <div class="wide broken-file">
      <p>
        <code>{where}</code>
        <span class="message">{message}</span>
      </p>
      {source !== null && (
        <pre tabIndex={0}>
          <mark>{source}</mark>
        </pre>
      )}
      <p class="faint">
        {lastGoodRuns
          ? "The last version that loaded stays in use."
          : "Its runs wait for the file without blocking others. After 24 hours without it, they are skipped."}
      </p>
    </div>
  );
}

function troubleFirst(a: HandlerJson, b: HandlerJson): number {
  return Number(b.error !== null) - Number(a.error !== null) || a.name.localeCompare(b.name);
}
