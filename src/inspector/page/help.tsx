// The help sheet: the keys, and what the signs of the chips say.

import { Dialog } from "./dialog.tsx";
import { KEYS } from "./keys.ts";
import { StateChip } from "./parts.tsx";
import { LEGEND } from "./words.ts";

export function Help() {
  return (
    <Dialog title="Help">
      <h2>Keys</h2>
      <dl class="keys">
        {KEYS.map(({ keys, says }) => (
          <div key={says}>
            <dt>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{says}</dd>
          </div>
        ))}
      </dl>
      <h2>States of a run</h2>
      <dl class="keys">
        {LEGEND.map(([chip, says]) => (
          <div key={chip.tone}>
            <dt>
              <StateChip chip={chip} label={chip.word} />
            </dt>
            <dd>{says}</dd>
          </div>
        ))}
      </dl>
      <p class="faint">
        The address of this page keeps the filter and what is open: share it with whoever may look here.
      </p>
    </Dialog>
  );
}
