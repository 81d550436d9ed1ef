// One delivery as a row of the list. The keyboard focuses its link; a click anywhere on the row opens it as well.

import { useComputed } from "@preact/signals";

import { latestRuns } from "../../api/latest-runs.ts";
import type { ListedDelivery, RunSummary } from "../../api/types.ts";
import { formatDuration } from "../../duration.ts";
import { Marks, StateChip, Time } from "./components.tsx";
import { chipOf, errorOf, labelOf, marksOf, tookOf, UNHANDLED } from "./labels.ts";
import { unfit } from "./rows.ts";
import { go, openId, view } from "./state.ts";
import { writeView } from "./view-url.ts";

export function Row({ delivery }: { delivery: ListedDelivery }) {
  const { id, type, receivedAt, receipts, runs } = delivery;
  const isOpen = useComputed(() => openId.value === id).value;
  const isUnfit = useComputed(() => unfit.value.has(id)).value;
  const took = tookOf(runs);
  const error = errorOf(runs);
  const open = (event: MouseEvent) => {
    // The person selects text or clicks the link itself.
    if (getSelection()?.isCollapsed === false || (event.target as Element).closest("a, button")) return;
    go({ page: "deliveries", id });
  };
  return (
    <tr role="row" class={`${isOpen ? "open" : ""}${isUnfit ? " dim" : ""}`} onClick={open}>
      <td role="cell" class="time faint">
        <Time at={receivedAt} />
      </td>
      <td role="cell" class="type">
        <a
          href={writeView({ ...view.peek(), page: "deliveries", id })}
          data-row={id}
          aria-current={isOpen ? "true" : undefined}
          onClick={(event) => {
            if (event.metaKey || event.ctrlKey || event.shiftKey) return;
            event.preventDefault();
            go({ page: "deliveries", id });
          }}
        >
          {type}
        </a>
      </td>
      <td role="cell" class="who">
        <WhoCell delivery={delivery} />
      </td>
      <td role="cell" class="chips">
        <Chips type={type} runs={runs} /> <Marks marks={marksOf(delivery)} receipts={receipts} />
      </td>
      <td role="cell" class="error bad" title={error ?? undefined}>
        {error}
      </td>
      <td role="cell" class="amount faint">
        {took === null ? <span class="faint">–</span> : formatDuration(took)}
      </td>
    </tr>
  );
}

function WhoCell({ delivery: { who, subject } }: { delivery: ListedDelivery }) {
  const { name = null, email = null } = who ?? {};
  const shown = name ?? email;
  if (shown === null) return subject === null ? <span class="faint">–</span> : <code title={subject}>{subject}</code>;
  return (
    <span title={[name, email, subject].filter(Boolean).join(" · ")}>
      {shown} {name !== null && email !== null && <span class="faint">{email}</span>}
    </span>
  );
}

/** The state of each handler's latest run: a chip for what is not done, first, and the number of those that are. */
export function Chips({ type, runs }: { type: string; runs: readonly RunSummary[] }) {
  if (runs.length === 0) return <StateChip chip={UNHANDLED} label="unhandled" />;
  const latest = latestRuns(runs);
  const done = latest.filter(({ state }) => state === "done").map(({ handler }) => handler);
  const others = latest.filter(({ state }) => state !== "done");
  return (
    <>
      {others.map((run) => {
        const chip = chipOf(run);
        const handler = labelOf(run.handler, type);
        return (
          <StateChip
            key={run.handler}
            chip={chip}
            label={run.handler === type ? chip.word : `${handler} ${chip.word}`}
            of={run.handler}
          />
        );
      })}
      {done.length > 0 && (
        <span class="good small amount" title={`done: ${done.join(", ")}`}>
          <span aria-hidden="true">✓ {done.length}</span>
          <span class="visually-hidden">done: {done.join(", ")}</span>
        </span>
      )}
    </>
  );
}
