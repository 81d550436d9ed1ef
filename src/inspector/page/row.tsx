// One delivery as a row of the list. The keyboard focuses its link; a click anywhere on the row opens it as well.

import { latestRuns } from "../../api/latest-runs.ts";
import type { DeliverySummary, RunSummary } from "../../api/types.ts";
import { formatDuration } from "../../duration.ts";
import { Marks, StateChip, Time } from "./components.tsx";
import { chipOf, labelOf, marksOf, tookOf, UNHANDLED } from "./labels.ts";
import { go, openId, view } from "./state.ts";
import { writeView } from "./view-url.ts";

export function Row({ delivery, fits }: { delivery: DeliverySummary; fits: boolean }) {
  const { id, type, subject, receivedAt, receipts, runs } = delivery;
  const isOpen = openId.value === id;
  const took = tookOf(runs);
  const open = (event: MouseEvent) => {
    // The user selects text or clicks the link itself.
    if (getSelection()?.isCollapsed === false || (event.target as Element).closest("a, button")) return;
    go({ id });
  };
  return (
    <tr role="row" class={`row${isOpen ? " open" : ""}${fits ? "" : " unfit"}`} onClick={open}>
      <td role="cell" class="time">
        <Time at={receivedAt} />
      </td>
      <td role="cell" class="type">
        <a
          href={writeView({ ...view.value, id })}
          data-row={id}
          aria-current={isOpen ? "true" : undefined}
          onClick={(event) => {
            if (event.metaKey || event.ctrlKey || event.shiftKey) return;
            event.preventDefault();
            go({ id });
          }}
        >
          {type}
        </a>
      </td>
      <td role="cell" class="subject" title={subject ?? undefined}>
        {subject ?? <span class="nothing">no subject</span>}
      </td>
      <td role="cell" class="chips">
        <Chips type={type} runs={runs} />
      </td>
      <td role="cell" class="marks">
        <Marks marks={marksOf(delivery)} receipts={receipts} />
      </td>
      <td role="cell" class="number took">
        {took === null ? <span class="nothing">–</span> : formatDuration(took)}
      </td>
      <td role="cell" class="number receipts">
        {receipts}
      </td>
    </tr>
  );
}

/** The state of each handler's latest run. */
export function Chips({ type, runs }: { type: string; runs: readonly RunSummary[] }) {
  if (runs.length === 0) return <StateChip chip={UNHANDLED} label="unhandled" />;
  return (
    <>
      {latestRuns(runs).map((run) => {
        const chip = chipOf(run);
        return <StateChip key={run.handler} chip={chip} label={labelOf(run.handler, type, chip)} of={run.handler} />;
      })}
    </>
  );
}
