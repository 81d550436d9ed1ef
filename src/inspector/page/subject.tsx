// All events of the same subject, in event order.

import type { DeliveryJson } from "../../api/types.ts";
import { Time } from "./components.tsx";
import { siblings } from "./opened.ts";
import { Chips } from "./row.tsx";
import { narrow, view } from "./state.ts";
import { writeView } from "./view-url.ts";

export function Subject({ delivery }: { delivery: DeliveryJson }) {
  const { subject, id } = delivery;
  const all = siblings.value;
  if (subject === null) return null;
  return (
    <section class="siblings" aria-labelledby="subject-heading">
      <h2 id="subject-heading">
        Events of this subject <span class="faint">in event order</span>
      </h2>
      {all === null ? (
        <p class="faint">Loading…</p>
      ) : (
        <ol>
          {all.deliveries.map((event) => (
            <li key={event.id} class={event.id === id ? "this" : ""}>
              <Time at={event.at} />
              <a href={writeView({ ...view.value, id: event.id })} aria-current={event.id === id ? "true" : undefined}>
                {event.type}
              </a>
              <span class="chips">
                <Chips type={event.type} runs={event.runs} />
              </span>
            </li>
          ))}
        </ol>
      )}
      {all?.more === true && <p class="faint">Only the latest are listed.</p>}
      <button type="button" class="subtle" onClick={() => narrow({ subject })}>
        Show them in the list
      </button>
    </section>
  );
}
