// What has just happened, for a moment at the foot of the page. What went wrong stays until somebody closes it.

import { useEffect } from "preact/hooks";

import { go, notice } from "./state.ts";

const SHOWN_MS = 6_000;

export function Notice() {
  const said = notice.value;
  useEffect(() => {
    if (!said || said.bad) return undefined;
    const timer = setTimeout(() => (notice.value = null), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [said]);
  const { link } = said ?? {};
  return (
    <div class={`notice${said ? " shown" : ""}${said?.bad ? " bad" : ""}`} role={said?.bad ? "alert" : "status"}>
      {said && (
        <>
          <span>{said.text}</span>
          {link && (
            <button type="button" class="link" onClick={() => go({ page: "deliveries", id: link.id })}>
              {link.text}
            </button>
          )}
          <button type="button" class="close" onClick={() => (notice.value = null)}>
            <span aria-hidden="true">✕</span>
            <span class="unseen">Close</span>
          </button>
        </>
      )}
    </div>
  );
}
