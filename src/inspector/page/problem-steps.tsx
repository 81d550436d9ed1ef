// In the view of one problem: steps through its deliveries, and what they have in common.

import { signal, untracked, useSignalEffect } from "@preact/signals";

import { problemsApi } from "./problems-client.ts";
import { remote, Show } from "./remote.tsx";
import { go, openId, view } from "./state.ts";

const shownProblem = signal<string | null>(null);
const details = remote((aborted) => problemsApi.details(shownProblem.peek() ?? "", aborted));

export function ProblemSteps({ id }: { id: string }) {
  useSignalEffect(() => {
    const { problem } = view.value;
    untracked(() => {
      if (shownProblem.value === problem) return;
      shownProblem.value = problem;
      details.clear();
      void details.load();
    });
  });
  return (
    <div class="steps" key={id}>
      <Show of={details} what="The deliveries of the problem" layout="row facts">
        {({ deliveries, common }) => {
          const at = deliveries.indexOf(openId.value ?? "");
          return (
            <>
              <p>
                <button type="button" disabled={at <= 0} title="Newer (p)" onClick={() => stepProblem(-1)}>
                  <span aria-hidden="true">←</span> <span class="visually-hidden">Newer</span>
                </button>{" "}
                <span role="status">
                  {at + 1} of {deliveries.length}
                </span>{" "}
                <button
                  type="button"
                  disabled={at < 0 || at === deliveries.length - 1}
                  title="Older (n)"
                  onClick={() => stepProblem(1)}
                >
                  <span class="visually-hidden">Older</span> <span aria-hidden="true">→</span>
                </button>
              </p>
              {common.values.length > 0 && (
                <p class="row facts">
                  <span class="faint">In common:</span>
                  {common.values.map(({ path, value, failed, done }) => (
                    <span key={path}>
                      <code>
                        {path}: {value}
                      </code>{" "}
                      <span class="faint">
                        {failed} of {common.failed}
                        {common.done > 0 && `, and ${done} of ${common.done} that succeeded`}
                      </span>
                    </span>
                  ))}
                </p>
              )}
            </>
          );
        }}
      </Show>
    </div>
  );
}

/** Opens the next delivery of the shown problem. */
export function stepProblem(by: 1 | -1): boolean {
  const deliveries = details.value.value?.deliveries ?? [];
  const next = deliveries[deliveries.indexOf(openId.value ?? "") + by];
  if (view.value.problem === null || next === undefined) return false;
  go({ id: next }, { replace: true });
  return true;
}
