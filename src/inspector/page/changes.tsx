// The changes since the previous event of the same subject, field by field.

import type { ChangesJson } from "../../api/types.ts";
import { filter } from "./state.ts";
import { writeView } from "./view-url.ts";

/** Clerk changes them with every event. */
const UNIMPORTANT = /(?:^|\.)(?:updated_at|last_active_at|last_sign_in_at)$/;
const MAX_SHOWN = 12;

export function Changes({ of: { previous, changes } }: { of: ChangesJson }) {
  if (previous === null) return null;
  const important = changes.filter(({ path }) => !UNIMPORTANT.test(path));
  const others = changes.length - important.length;
  return (
    <div class="changes stack tight">
      {important.length === 0 ? (
        <p class="faint">Nothing changed{others > 0 && " but times"}.</p>
      ) : (
        <dl>
          {important.slice(0, MAX_SHOWN).map(({ path, before, after }) => (
            <div key={path} class="row facts">
              <dt class="mono faint">{path.replace(/^data\./, "")}</dt>
              <dd class="mono">
                {before === null ? <span class="faint">new</span> : <del class="bad">{before}</del>}{" "}
                <span aria-hidden="true">→</span>{" "}
                {after === null ? <span class="faint">removed</span> : <ins class="good">{after}</ins>}
              </dd>
            </div>
          ))}
        </dl>
      )}
      <p class="faint">
        {important.length > MAX_SHOWN && `${important.length - MAX_SHOWN} more fields changed. `}
        Compared with{" "}
        <a href={writeView({ page: "deliveries", id: previous.id, problem: null, filter: filter.peek() })}>
          {previous.type}
        </a>
        {others > 0 && important.length > 0 && ", times left out"}.
      </p>
    </div>
  );
}
