// The open delivery: its facts, runs, payload, headers, and the other events of its subject.

import { useEffect, useRef } from "preact/hooks";

import type { DeliveryJson } from "../../api/types.ts";
import { count } from "../../count.ts";
import { Copy, Empty, Marks, Time } from "./components.tsx";
import { Headers } from "./headers.tsx";
import { marksOf } from "./labels.ts";
import { missing, opened } from "./opened.ts";
import { Payload } from "./payload.tsx";
import { dialog, go, narrow, openId, replaying } from "./state.ts";
import { Subject } from "./subject.tsx";
import { Timeline } from "./timeline.tsx";

export function Detail() {
  const delivery = opened.value;
  const id = openId.value;
  const heading = useRef<HTMLHeadingElement>(null);
  // Move the focus here for keyboards and screen readers, except while the user steps through the list.
  useEffect(() => {
    if (!document.activeElement?.hasAttribute("data-row")) heading.current?.focus({ preventScroll: true });
  }, [id]);
  return (
    <section class="detail" aria-labelledby="detail-heading">
      <header>
        <button type="button" class="close" title="Close (esc)" onClick={() => go({ id: null })}>
          <span aria-hidden="true">✕</span>
          <span class="visually-hidden">Close</span>
        </button>
        <h1 id="detail-heading" ref={heading} tabIndex={-1}>
          {delivery?.type ?? id}
        </h1>
        {delivery && <Actions delivery={delivery} />}
      </header>
      {missing.value && <Missing />}
      {delivery && <Whole delivery={delivery} />}
    </section>
  );
}

function Whole({ delivery }: { delivery: DeliveryJson }) {
  return (
    <div class="whole" key={delivery.id}>
      <Facts delivery={delivery} />
      <Timeline delivery={delivery} />
      <Payload delivery={delivery} />
      <Subject delivery={delivery} />
      <Headers delivery={delivery} />
    </div>
  );
}

function Actions({ delivery }: { delivery: DeliveryJson }) {
  const gone = delivery.payload === null;
  const replay = () => {
    replaying.value = delivery.id;
    dialog.value = "replay";
  };
  return (
    <button
      type="button"
      class="primary"
      disabled={gone}
      title={gone ? "Its payload is deleted, so it can't be replayed" : "Replay it (r)"}
      onClick={replay}
    >
      Replay…
    </button>
  );
}

function Facts({ delivery }: { delivery: DeliveryJson }) {
  const { id, subject, at, receivedAt, receipts, payload } = delivery;
  const marks = marksOf({ ...delivery, wiped: payload === null });
  return (
    <dl class="facts">
      <dt>Delivery</dt>
      <dd>
        <code>{id}</code> <Copy text={id} what="the id" />
      </dd>
      <dt>Subject</dt>
      <dd>
        {subject === null ? (
          <span class="nothing">none</span>
        ) : (
          <>
            <button type="button" class="link" title="Show all of this subject" onClick={() => narrow({ subject })}>
              <code>{subject}</code>
            </button>{" "}
            <Copy text={subject} what="the subject" />
          </>
        )}
      </dd>
      <dt>Happened</dt>
      <dd>
        <Time at={at} />
      </dd>
      <dt>Received</dt>
      <dd>
        <Time at={receivedAt} />
        {receipts > 1 && <span class="faint">, and {count(receipts, "time")} in all</span>}
      </dd>
      {marks.length > 0 && (
        <>
          <dt>Marks</dt>
          <dd class="marks">
            <Marks marks={marks} receipts={receipts} />
          </dd>
        </>
      )}
    </dl>
  );
}

function Missing() {
  return (
    <Empty title="It is not stored here">
      <p>The URL may be from another server, or the delivery is older than RETENTION_DAYS.</p>
    </Empty>
  );
}
