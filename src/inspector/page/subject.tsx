// All events of the same subject, in the order in which they happened.

import type { DeliveryJson } from "../types.ts";
import { siblings } from "./opened.ts";
import { Time } from "./parts.tsx";
import { Chips } from "./row.tsx";
import { narrow, view } from "./state.ts";
import { writeView } from "./url.ts";

export function Subject({ delivery }: { delivery: DeliveryJson }) {
  const { subject, id } = delivery;
  const all = siblings.value;
  if (subject === null) return null;
  return (
    <section class="siblings" aria-labelledby="subject-heading">
      <h2 id="subject-heading">
        Events of this subject <span class="faint">in the order in which they happened</span>
      </h2>
      {all === null ? (
        <p class="faint">Loading…</p>
      ) : (
        <ol>
          {all.deliveries.map((each) => (
            <li key={each.id} class={each.id === id ? "this" : ""}>
              <Time at={each.at} />
              <a href={writeView({ ...view.value, id: each.id })} aria-current={each.id === id ? "true" : undefined}>
                {each.type}
              </a>
              <span class="chips">
                <Chips type={each.type} runs={each.runs} />
              </span>
            </li>
          ))}
        </ol>
      )}
      {all?.more === true && <p class="faint">These are the latest; there are earlier ones.</p>}
      <button type="button" class="quietly" onClick={() => narrow({ subject })}>
        Show them in the list
      </button>
    </section>
  );
}
