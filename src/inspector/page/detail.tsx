// The open delivery: whom it is about, its runs, payload, changes and headers, and the actions on it.

import { useEffect, useRef } from "preact/hooks";

import { originalOf } from "../../api/edited.ts";
import { deadHandlers } from "../../api/latest-runs.ts";
import type { DeliveryJson } from "../../api/types.ts";
import { count } from "../../count.ts";
import { Changes } from "./changes.tsx";
import { Ago, Copy, Marks, SubjectLink, Time } from "./components.tsx";
import { CopyMenu } from "./copy-menu.tsx";
import { Headers } from "./headers.tsx";
import { marksOf } from "./labels.ts";
import { changes, delivery, openRow, siblings } from "./opened.ts";
import { Payload } from "./payload.tsx";
import { ProblemSteps } from "./problem-steps.tsx";
import { Empty, Show } from "./remote.tsx";
import { Chips } from "./row.tsx";
import { act, go, openId, view } from "./state.ts";
import { Timeline } from "./timeline.tsx";
import { writeView } from "./view-url.ts";

export function Detail() {
  const id = openId.value;
  const loaded = delivery.value.value;
  const heading = useRef<HTMLHeadingElement>(null);
  // Move the focus here for keyboards and screen readers, except while the person steps through a list.
  useEffect(() => {
    if (!document.activeElement?.hasAttribute("data-row")) heading.current?.focus({ preventScroll: true });
  }, [id]);
  return (
    <section class="detail" aria-labelledby="detail-heading">
      <header class="stuck row">
        <button type="button" class="subtle" title="Close (esc)" onClick={() => go({ id: null })}>
          <span aria-hidden="true">✕</span>
          <span class="visually-hidden">Close</span>
        </button>
        <h1 id="detail-heading" class="grow" ref={heading} tabIndex={-1}>
          {loaded?.type ?? openRow.value?.type ?? id}
        </h1>
        {loaded && <Actions delivery={loaded} />}
      </header>
      {view.value.problem !== null && <ProblemSteps id={view.value.problem} />}
      {delivery.trouble.value !== null && isMissing() ? (
        <Empty title="This server does not store it">
          <p>The URL may be from another server, or the delivery is older than RETENTION_DAYS.</p>
        </Empty>
      ) : (
        <Show of={delivery} what="The delivery">
          {(found) => <Whole delivery={found} />}
        </Show>
      )}
    </section>
  );
}

function isMissing(): boolean {
  return delivery.value.value === null && delivery.trouble.value === "It is not stored here.";
}

const SECTIONS = { runs: "Runs", payload: "Payload", changes: "Changes", subject: "Subject", headers: "Headers" };

function Whole({ delivery: found }: { delivery: DeliveryJson }) {
  const shown = Object.entries(SECTIONS).filter(([name]) => name !== "subject" || found.subject !== null);
  return (
    <div class="whole stack" key={found.id}>
      <Facts delivery={found} />
      <nav class="sections stuck row tight" aria-label="Parts of the delivery">
        {shown.map(([name, label]) => (
          <button key={name} type="button" class="subtle" onClick={() => jump(name)}>
            {label}
          </button>
        ))}
      </nav>
      <Timeline delivery={found} />
      <Payload delivery={found} />
      <section class="stack" aria-labelledby="changes-heading">
        <h2 id="changes-heading" tabIndex={-1}>
          Changes
        </h2>
        <Show
          of={changes}
          what="The changes"
          isEmpty={({ previous }) => previous === null}
          empty={<p class="faint">It is the first stored event of its subject.</p>}
        >
          {(known) => <Changes of={known} />}
        </Show>
      </section>
      {found.subject !== null && <Subject delivery={found} subject={found.subject} />}
      <Headers delivery={found} />
    </div>
  );
}

/** An anchor would change the hash, which holds the view. */
function jump(name: string) {
  const heading = document.querySelector<HTMLElement>(`#${name}-heading`);
  heading?.scrollIntoView({ block: "start" });
  heading?.focus({ preventScroll: true });
}

function Actions({ delivery: found }: { delivery: DeliveryJson }) {
  const gone = found.payload === null;
  const isDead = deadHandlers(found.runs).length > 0;
  const title = gone ? "Its payload is deleted" : undefined;
  return (
    <div class="actions row tight">
      <button
        type="button"
        class={isDead ? "primary" : ""}
        disabled={gone}
        title={title ?? "Run it again (r)"}
        onClick={() => act("replay", found.id)}
      >
        Replay…
      </button>
      <button
        type="button"
        disabled={gone}
        title={title ?? "Dry run: db is rolled back (t)"}
        onClick={() => act("try", found.id)}
      >
        Try…
      </button>
      <button
        type="button"
        disabled={gone}
        title={title ?? "Edit the payload and run it (e)"}
        onClick={() => act("edit", found.id)}
      >
        Edit…
      </button>
      <CopyMenu delivery={found} />
    </div>
  );
}

function Facts({ delivery: found }: { delivery: DeliveryJson }) {
  const { id, subject, at, receivedAt, receipts, payload, headers } = found;
  const marks = marksOf({ ...found, wiped: payload === null });
  const { name, email } = openRow.value?.who ?? {};
  const original = originalOf(headers);
  return (
    <p class="row facts">
      {name && <span>{name}</span>}
      {email && <span>{email}</span>}
      {subject !== null && <SubjectLink id={subject} />}
      <span>
        <Time at={at} />, <Ago at={at} />
        {receivedAt - at > 60_000 && (
          <>
            {" "}
            (received <Time at={receivedAt} />)
          </>
        )}
        {receipts > 1 && <span class="faint">, received {count(receipts, "time")}</span>}
      </span>
      <span>
        <code>{id}</code> <Copy text={id} what="the id" />
      </span>
      {original !== null && (
        <span>
          edited from <a href={writeView({ ...view.value, page: "deliveries", id: original })}>{original}</a>
        </span>
      )}
      <Marks marks={marks} receipts={receipts} />
    </p>
  );
}

/** All events of the same subject, in event order. */
function Subject({ delivery: { id }, subject }: { delivery: DeliveryJson; subject: string }) {
  return (
    <section class="siblings stack" aria-labelledby="subject-heading">
      <h2 id="subject-heading" tabIndex={-1}>
        Events of this subject
      </h2>
      <Show of={siblings} what="The events">
        {({ deliveries, more }) => (
          <>
            <ol>
              {deliveries.map((event) => (
                <li key={event.id} class={`row facts${event.id === id ? " raised" : ""}`}>
                  <Time at={event.at} />
                  <a
                    href={writeView({ ...view.value, page: "deliveries", id: event.id })}
                    aria-current={event.id === id ? "true" : undefined}
                  >
                    {event.type}
                  </a>
                  <span class="chips">
                    <Chips type={event.type} runs={event.runs} />
                  </span>
                </li>
              ))}
            </ol>
            {more && <p class="faint">Only the latest are listed.</p>}
          </>
        )}
      </Show>
      <p>
        <a href={writeView({ ...view.value, page: "person", id: subject })}>Everything about {subject}, of all kinds</a>
      </p>
    </section>
  );
}
