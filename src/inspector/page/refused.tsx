// Refused requests with reason and remedy, so that a wrong secret is seen at once.

import type { RefusedJson } from "../../api/types.ts";
import { count } from "../../count.ts";
import type { RefusalCode } from "../../errors.ts";
import { Empty, Time } from "./components.tsx";
import { go, refused, server } from "./state.ts";

/** Needs no action: a browser opened the webhook endpoint. */
const HARMLESS = new Set<string>(["method_not_allowed", "not_found", "shutting_down"]);
const RECENT_MS = 600_000;

export function Refused() {
  const known = refused.value;
  const codes = Object.entries(known?.counts ?? {}).toSorted(([, a], [, b]) => b - a) as [RefusalCode, number][];
  return (
    <section class="page" aria-labelledby="refused-heading">
      <h1 id="refused-heading" tabIndex={-1}>
        Refused requests <span class="faint">the last 1,000, since the server started</span>
      </h1>
      {known && codes.length === 0 && (
        <Empty title="No refused requests">
          <p>All requests were signed with the right secret.</p>
        </Empty>
      )}
      <ul class="codes">
        {codes.map(([code, number]) => (
          <Code key={code} code={code} number={number} explanation={known?.explanations[code]} />
        ))}
      </ul>
      {known && known.latest.length > 0 && <Latest latest={known.latest} />}
    </section>
  );
}

function Code(props: {
  code: RefusalCode;
  number: number;
  explanation: { message: string; remedy: string } | undefined;
}) {
  const { code, number, explanation } = props;
  return (
    <li class={HARMLESS.has(code) ? "" : "bad-edge"}>
      <h2>
        {code === "no_match" ? (
          <NoMatch number={number} />
        ) : (
          `${count(number, "request")}: ${explanation?.message ?? code}`
        )}
      </h2>
      <p>{explanation?.remedy}</p>
      <p class="faint">
        <code>{code}</code>
      </p>
    </li>
  );
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
            <th scope="col" class="number">
              Size
            </th>
          </tr>
        </thead>
        <tbody>
          {latest.map(({ code, at, size, claimedId }, index) => (
            <tr key={index}>
              <td>
                <Time at={at} />
              </td>
              <td>
                <code>{code}</code>
              </td>
              <td>{claimedId === null ? <span class="nothing">none</span> : <code>{claimedId}</code>}</td>
              <td class="number">{size.toLocaleString("en")} B</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** A banner above the list while signatures do not match. */
export function RefusedAlert() {
  const known = refused.value;
  const recent = (known?.latest ?? []).filter(({ code, at }) => code === "no_match" && at > Date.now() - RECENT_MS);
  if (recent.length === 0) return null;
  return (
    <p class="alert" role="status">
      <span>
        <NoMatch number={recent.length} />
      </span>
      <button type="button" onClick={() => go({ page: "refused", id: null })}>
        See them
      </button>
    </p>
  );
}

/** How many refused requests need attention. */
export function refusedToSee(known: RefusedJson | null): number {
  return Object.entries(known?.counts ?? {}).reduce(
    (sum, [code, number]) => sum + (HARMLESS.has(code) ? 0 : number),
    0,
  );
}
