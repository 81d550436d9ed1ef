// Refused requests with reason and remedy, so that a wrong secret, clock or path is seen at once.

import { computed } from "@preact/signals";

import type { RefusedJson } from "../../api/server-types.ts";
import { count } from "../../count.ts";
import { formatDuration } from "../../duration.ts";
import type { RefusalCode } from "../../errors.ts";
import { Ago, Time } from "./components.tsx";
import { refusedSeenAt } from "./preferences.ts";
import { Empty, Skeleton } from "./remote.tsx";
import { go, refused, server } from "./state.ts";

type RefusedRequest = RefusedJson["latest"][number];

/** Needs no action: a browser opened the webhook endpoint. */
const HARMLESS = new Set<string>(["method_not_allowed", "not_found", "shutting_down"]);
const RECENT_MS = 600_000;

/** The latest ones that need attention and were not marked as seen. */
const unseen = computed(() =>
  (refused.value?.latest ?? []).filter(({ code, at }) => !HARMLESS.has(code) && at > refusedSeenAt.value),
);

export const refusedToSee = computed(() => unseen.value.length);

export function Refused() {
  const known = refused.value;
  const codes = Object.entries(known?.counts ?? {}).toSorted(([, a], [, b]) => b - a) as [RefusalCode, number][];
  return (
    <section class="page stack" aria-labelledby="refused-heading">
      <header class="row">
        <h1 id="refused-heading" tabIndex={-1}>
          Refused requests <span class="faint">the last 1,000, since the server started</span>
        </h1>
        {unseen.value.length > 0 && (
          <button type="button" onClick={() => (refusedSeenAt.value = Date.now())}>
            Mark as seen
          </button>
        )}
      </header>
      {known === null && <Skeleton />}
      {known && codes.length === 0 && (
        <Empty title="No refused requests">
          <p>All requests were signed with the right secret.</p>
        </Empty>
      )}
      <ul class="stack loose">
        {codes.map(([code, number]) => (
          <Code
            key={code}
            code={code}
            number={number}
            explanation={known?.explanations[code]}
            latest={known?.latest.filter((request) => request.code === code) ?? []}
          />
        ))}
      </ul>
      {known && known.latest.length > 0 && <Latest latest={known.latest} />}
    </section>
  );
}

interface CodeProps {
  code: RefusalCode;
  number: number;
  explanation: { message: string; remedy: string } | undefined;
  latest: readonly RefusedRequest[];
}

function Code({ code, number, explanation, latest }: CodeProps) {
  const isNew = !HARMLESS.has(code) && latest.some(({ at }) => at > refusedSeenAt.value);
  const found = evidenceOf(latest);
  return (
    <li class={`panel pad stack tight${isNew ? " new" : ""}`}>
      <h2 class="heading">
        {code === "no_match" ? (
          <NoMatch number={number} />
        ) : (
          `${count(number, "request")}: ${plain(explanation?.message ?? code)}`
        )}
      </h2>
      {found.map((sentence) => (
        <p key={sentence} class="warn">
          {sentence}
        </p>
      ))}
      <p>{plain(explanation?.remedy ?? "")}</p>
      <p class="faint">
        <code>{code}</code>
        {latest[0] && (
          <>
            , the last one <Ago at={latest[0].at} />
          </>
        )}
      </p>
    </li>
  );
}

/** Pure: what the requests themselves show about the cause. */
export function evidenceOf(latest: readonly RefusedRequest[]): string[] {
  const [newest] = latest;
  if (!newest) return [];
  const sentences: string[] = [];
  const { skewSeconds = 0, path, rightPath, change } = newest;
  if (newest.code === "too_old" || newest.code === "too_new") {
    const by = formatDuration(Math.abs(skewSeconds) * 1_000);
    sentences.push(
      `The last one was signed ${by} ${newest.code === "too_old" ? "before" : "after"} this machine's time.`,
    );
  }
  if (change !== undefined) sentences.push(`A proxy has changed the body: ${change}.`);
  if (path !== undefined && rightPath !== undefined)
    sentences.push(`It was sent to ${path}; the webhook's path is ${rightPath}.`);
  if (
    latest.some(({ proxied }) => proxied) &&
    ["no_match", "bad_id", "bad_timestamp", "missing_headers"].includes(newest.code)
  )
    sentences.push("They came through a proxy, which may change the body or the headers.");
  return sentences;
}

/** The messages are written for a terminal. */
function plain(text: string): string {
  return text.replaceAll("`", "");
}

function NoMatch({ number }: { number: number }) {
  return (
    <>
      {count(number, "request")} with a signature that does not match: is <code>{server.value?.secretHint}</code> the
      secret of <em>this</em> endpoint?
    </>
  );
}

function Latest({ latest }: { latest: RefusedJson["latest"] }) {
  return (
    <div class="scroll-x" tabIndex={0} role="region" aria-label="The latest">
      <table class="plain">
        <caption class="visually-hidden">The latest, newest first</caption>
        <thead>
          <tr>
            <th scope="col">Time</th>
            <th scope="col">Reason</th>
            <th scope="col">Claimed id</th>
            <th scope="col">Path, clock, proxy</th>
            <th scope="col" class="amount">
              Size
            </th>
          </tr>
        </thead>
        <tbody>
          {latest.map(({ code, at, size, claimedId, skewSeconds, path, proxied }, index) => (
            <tr key={index}>
              <td>
                <Time at={at} />
              </td>
              <td>
                <code>{code}</code>
              </td>
              <td>{claimedId === null ? <span class="faint">none</span> : <code>{claimedId}</code>}</td>
              <td>
                {[path, skewSeconds && `${skewSeconds} s off`, proxied && "by a proxy"].filter(Boolean).join(", ") || (
                  <span class="faint">–</span>
                )}
              </td>
              <td class="amount">{size.toLocaleString("en")} B</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** A banner above the list while signatures do not match. */
export function RefusedAlert() {
  const recent = unseen.value.filter(({ code, at }) => code === "no_match" && at > Date.now() - RECENT_MS);
  if (recent.length === 0) return null;
  return (
    <p class="alert row" role="status">
      <span>
        <NoMatch number={recent.length} />
      </span>
      <button type="button" onClick={() => go({ page: "refused", id: null, problem: null })}>
        See them
      </button>
      <button type="button" class="subtle" onClick={() => (refusedSeenAt.value = Date.now())}>
        Mark as seen
      </button>
    </p>
  );
}
