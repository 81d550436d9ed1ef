// Copies a delivery as a command, a request, or a test.

import { useRef } from "preact/hooks";

import { deadHandlers, latestRuns } from "../../api/latest-runs.ts";
import type { DeliveryJson } from "../../api/types.ts";
import { api } from "./api.ts";
import { replayCommand, testOf, tryCommand } from "./copy-texts.ts";
import { attempt, notify, server } from "./state.ts";

export function CopyMenu({ delivery }: { delivery: DeliveryJson }) {
  const box = useRef<HTMLDetailsElement>(null);
  const { id, type, payload, hidden = [], runs } = delivery;
  const command = server.value?.command ?? "bun";
  const [dead] = deadHandlers(runs);
  const handlers = latestRuns(runs).map(({ handler }) => handler);
  const copy = (what: string, text: () => string | Promise<string>) => {
    if (box.current) box.current.open = false;
    void attempt(async () => {
      await navigator.clipboard.writeText(await text());
      notify(`Copied ${what}.`);
    });
  };
  return (
    <details
      class="menu"
      ref={box}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || !box.current?.open) return;
        event.preventDefault();
        box.current.open = false;
        box.current.querySelector("summary")?.focus();
      }}
      onFocusOut={({ currentTarget, relatedTarget }) => {
        if (relatedTarget instanceof Node && !currentTarget.contains(relatedTarget)) currentTarget.open = false;
      }}
    >
      <summary class="button">Copy as…</summary>
      <div class="items floating">
        <button type="button" class="subtle" onClick={() => copy("the link", () => location.href)}>
          Link to this view
        </button>
        <button
          type="button"
          class="subtle"
          onClick={() => copy("the command", () => replayCommand(command, id, dead))}
        >
          <code>{command} replay</code>
        </button>
        <button type="button" class="subtle" onClick={() => copy("the command", () => tryCommand(command, id, dead))}>
          <code>{command} try</code>
        </button>
        {typeof payload === "string" && (
          <>
            <button
              type="button"
              class="subtle"
              onClick={() => copy("a request that is valid for 5 minutes", async () => (await api.curl(id)).command)}
            >
              <code>curl</code>, signed, valid for 5 min
            </button>
            <button
              type="button"
              class="subtle"
              onClick={() =>
                copy(hidden.length > 0 ? "a test without the hidden values" : "a test", () =>
                  testOf(type, payload, handlers),
                )
              }
            >
              A test for <code>bellhop/test</code>
            </button>
          </>
        )}
      </div>
    </details>
  );
}
