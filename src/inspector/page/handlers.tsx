// The handlers as a table, those in trouble first: failures, durations, what is dead or waits, and why a file does not load.

import type { HandlerJson } from "../../api/types.ts";
import { formatDuration } from "../../duration.ts";
import { Ago, Snippet } from "./components.tsx";
import { PauseButton, Paused } from "./pause.tsx";
import { Empty, Skeleton } from "./remote.tsx";
import { Servers } from "./servers.tsx";
import { handlers, server, view } from "./state.ts";
import { percent } from "./time.ts";
import { writeView } from "./view-url.ts";

export function Handlers() {
  const all = handlers.value;
  const dir = server.value?.handlersDir ?? "";
  return (
    <section class="page stack" aria-labelledby="handlers-heading">
      <h1 id="handlers-heading" tabIndex={-1}>
        Handlers <span class="faint">attempts and durations since this server started</span>
      </h1>
      {all === null && <Skeleton />}
      {all?.length === 0 && (
        <Empty title={`No handlers in ${dir}/ yet`}>
          <p>A handler is a file named after its event. This writes one:</p>
          <Snippet text={`${server.value?.command ?? "bun"} new user.created`} />
        </Empty>
      )}
      {all !== null && all.length > 0 && (
        <div class="scroll-x" tabIndex={0} role="region" aria-label="Handlers">
          <table class="plain">
            <thead>
              <tr>
                <th scope="col">Handler</th>
                <th scope="col" class="amount">
                  Attempts
                </th>
                <th scope="col" class="amount">
                  Failed
                </th>
                <th scope="col" class="amount">
                  p50
                </th>
                <th scope="col" class="amount">
                  p99
                </th>
                <th scope="col" class="amount">
                  Dead
                </th>
                <th scope="col" class="amount">
                  Retrying
                </th>
                <th scope="col" class="amount">
                  Waiting
                </th>
                <th scope="col">Last error</th>
                <th scope="col">
                  <span class="visually-hidden">Pause</span>
                </th>
              </tr>
            </thead>
            {all.toSorted(byTrouble).map((handler) => (
              <Handler key={handler.name} handler={handler} dir={dir} />
            ))}
          </table>
        </div>
      )}
      <Servers />
    </section>
  );
}

function Handler({ handler, dir }: { handler: HandlerJson; dir: string }) {
  const { name, file, event, lane, options, error, warning, lastError, ran, failed, p50, p99 } = handler;
  const details = [
    `event ${event}`,
    `lane ${lane}`,
    ...Object.entries(options).map(([key, value]) => `${key} ${value}`),
  ];
  return (
    <tbody class={error ? "broken" : ""}>
      <tr>
        <th scope="row">
          {error && (
            <span class="chip dead">
              <span aria-hidden="true">✕</span> does not load
            </span>
          )}{" "}
          <a data-row={name} href={urlOf({ handler: name })} title="Its deliveries">
            {name}
          </a>{" "}
          <Paused handler={handler} />
          <span class="faint about tiny" title={`${dir}/${file}`}>
            {details.join(" · ")}
          </span>
        </th>
        <td class="amount">{ran.toLocaleString("en")}</td>
        <td class={`amount${failed > 0 ? " bad" : ""}`} title={`${failed.toLocaleString("en")} attempts`}>
          {percent(failed, ran)}
          {failed > 0 && (
            <meter min={0} low={0.5} high={0.5} optimum={0} max={ran} value={failed} aria-label="Failed share" />
          )}
        </td>
        <td class="amount">{p50 === null ? "–" : formatDuration(p50)}</td>
        <td class="amount">{p99 === null ? "–" : formatDuration(p99)}</td>
        <Count number={handler.dead} href={urlOf({ handler: name, state: "dead" })} bad />
        <Count number={handler.retrying} href={urlOf({ handler: name, state: "retrying" })} />
        <Count number={handler.waiting} href={urlOf({ handler: name, state: "waiting" })} />
        <td class="last-error cut">
          {lastError && (
            <>
              <a href={writeView({ ...view.value, page: "deliveries", id: lastError.delivery })}>{lastError.message}</a>{" "}
              <span class="faint">
                <Ago at={lastError.at} />
              </span>
            </>
          )}
        </td>
        <td>
          <PauseButton handler={handler} />
        </td>
      </tr>
      {(error !== null || warning !== null) && (
        <tr>
          <td colSpan={10}>
            {error && <Broken error={error} lastGoodRuns={handler.lastGoodRuns} />}
            {warning !== null && <p class="warn">{warning}</p>}
          </td>
        </tr>
      )}
    </tbody>
  );
}

function urlOf(filter: { handler: string; state?: string }): string {
  return writeView({ page: "deliveries", id: null, problem: null, filter });
}

function Count({ number, href, bad = false }: { number: number; href: string; bad?: boolean }) {
  return (
    <td class="amount">
      {number === 0 ? (
        <span class="faint">0</span>
      ) : (
        <a class={bad ? "bad" : ""} href={href}>
          {number.toLocaleString("en")}
        </a>
      )}
    </td>
  );
}

function Broken({ error, lastGoodRuns }: { error: NonNullable<HandlerJson["error"]>; lastGoodRuns: boolean }) {
  const { where, message, source } = error;
  return (
    <div class="broken-file stack tight">
      <p>
        <code>{where}</code> <span>{message}</span>
      </p>
      {source !== null && (
        <pre class="scroll-x" tabIndex={0}>
          <mark>{source}</mark>
        </pre>
      )}
      <p>
        {lastGoodRuns
          ? "The last version that loaded stays in use."
          : "Its runs wait for the file without blocking others. After 24 hours without it, they are skipped."}
      </p>
    </div>
  );
}

/** Pure: what a person has to look at, first. */
export function byTrouble(a: HandlerJson, b: HandlerJson): number {
  const share = ({ failed, ran }: HandlerJson) => (ran === 0 ? 0 : failed / ran);
  return (
    Number(b.error !== null) - Number(a.error !== null) ||
    Number(b.paused !== null) - Number(a.paused !== null) ||
    b.dead - a.dead ||
    b.retrying - a.retrying ||
    share(b) - share(a) ||
    b.waiting - a.waiting ||
    a.name.localeCompare(b.name)
  );
}
