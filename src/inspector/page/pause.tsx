// Pausing and resuming a handler: its runs wait meanwhile, and no attempt is counted.

import { useSignal } from "@preact/signals";

import type { HandlerJson } from "../../api/types.ts";
import { api } from "./api.ts";
import { Ago } from "./components.tsx";
import { attempt, handlers, isProduction } from "./state.ts";

export function Paused({ handler: { paused } }: { handler: HandlerJson }) {
  if (!paused) return null;
  const { cause, reason, since } = paused;
  return (
    <span class="chip parked" title={reason ?? undefined}>
      <span aria-hidden="true">‖</span> {cause === "breaker" ? "paused by its failures" : "paused"} <Ago at={since} />
    </span>
  );
}

export function PauseButton({ handler: { name, paused } }: { handler: HandlerJson }) {
  const sure = useSignal(false);
  const change = (work: () => Promise<unknown>) =>
    attempt(async () => {
      await work();
      sure.value = false;
      handlers.value = await api.handlers();
    });
  if (paused)
    return (
      <button type="button" aria-label={`Resume ${name}`} onClick={() => void change(() => api.resume(name))}>
        Resume
      </button>
    );
  if (sure.value)
    return (
      <button type="button" class="danger" onClick={() => void change(() => api.pause(name))}>
        Yes, pause {name}
      </button>
    );
  return (
    <button
      type="button"
      class="subtle"
      aria-label={`Pause ${name}`}
      onClick={() => (isProduction.value ? (sure.value = true) : void change(() => api.pause(name)))}
    >
      Pause
    </button>
  );
}
