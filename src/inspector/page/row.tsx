// One delivery as a row of the list. Its link is what the keyboard goes to; a click anywhere on the row opens it as well.

import type { DeliverySummary, RunSummary } from "../../inbox/queries.ts";
import { Marks, StateChip, Time } from "./parts.tsx";
import { go, openId, view } from "./state.ts";
import { duration } from "./time.ts";
import { writeView } from "./url.ts";
import { chipOf, labelOf, latest, marksOf, tookOf, UNHANDLED } from "./words.ts";

export function Row({ delivery, fits }: { delivery: DeliverySummary; fits: boolean }) {
  const { id, type, subject, receivedAt, receipts, runs } = delivery;
  const isOpen = openId.value === id;
  const took = tookOf(runs);
  const open = (event: MouseEvent) => {
    // Somebody selects text, or follows the link.
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
        {took === null ? <span class="nothing">–</span> : duration(took)}
      </td>
      <td role="cell" class="number receipts">
        {receipts}
      </td>
    </tr>
  );
}

/** How each handler stands. */
export function Chips({ type, runs }: { type: string; runs: readonly RunSummary[] }) {
  if (runs.length === 0) return <StateChip chip={UNHANDLED} label="unhandled" />;
  return (
    <>
      {latest(runs).map((run) => {
        const chip = chipOf(run);
        return <StateChip key={run.handler} chip={chip} label={labelOf(run.handler, type, chip)} of={run.handler} />;
      })}
    </>
  );
}
