// The help dialog: keyboard shortcuts and the legend of the chips.

import { Fragment } from "preact";

import { StateChip } from "./components.tsx";
import { Dialog } from "./dialog.tsx";
import { KEYS } from "./keys.ts";
import { LEGEND } from "./labels.ts";
import { type Editor, editor, EDITORS, type Theme, theme, THEMES } from "./preferences.ts";
import { server } from "./state.ts";

export function Help() {
  return (
    <Dialog title="Help">
      <h2>Keys</h2>
      <dl class="terms">
        {KEYS.map(({ keys, description }) => (
          <Fragment key={description}>
            <dt class="row tight">
              {keys.map((key) => (
                <kbd key={key} class="box raised">
                  {key}
                </kbd>
              ))}
            </dt>
            <dd>{description}</dd>
          </Fragment>
        ))}
      </dl>
      <h2>States of a run</h2>
      <dl class="terms">
        {LEGEND.map(([chip, description]) => (
          <Fragment key={chip.tone}>
            <dt>
              <StateChip chip={chip} label={chip.word} />
            </dt>
            <dd>{description}</dd>
          </Fragment>
        ))}
      </dl>
      <h2>This browser</h2>
      <p class="row loose">
        <label>
          Theme{" "}
          <select value={theme.value} onChange={({ currentTarget }) => (theme.value = currentTarget.value as Theme)}>
            {THEMES.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        {server.value?.root != null && (
          <label>
            Places in the code open in{" "}
            <select
              value={editor.value}
              onChange={({ currentTarget }) => (editor.value = currentTarget.value as Editor)}
            >
              <option value="ask">ask</option>
              {Object.entries(EDITORS).map(([name, label]) => (
                <option key={name} value={name}>
                  {label}
                </option>
              ))}
            </select>
          </label>
        )}
      </p>
      <p class="faint">
        The URL of this page contains the filter and the open delivery. Share it with others who have access.
      </p>
    </Dialog>
  );
}
