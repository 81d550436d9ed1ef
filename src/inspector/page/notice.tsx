// The latest notice at the foot of the page. It disappears by itself; an error stays until the user closes it.

import { useEffect } from "preact/hooks";

import { go, notice } from "./state.ts";

const SHOWN_MS = 6_000;

export function Notice() {
  const shown = notice.value;
  useEffect(() => {
    if (!shown || shown.bad) return undefined;
    const timer = setTimeout(() => (notice.value = null), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [shown]);
  const { link } = shown ?? {};
  return (
    <div
      class={`notice row${shown ? " floating" : ""}${shown?.bad ? " bad" : ""}`}
      role={shown?.bad ? "alert" : "status"}
    >
      {shown && (
        <>
          <span>{shown.text}</span>
          {link && (
            <button type="button" class="bare accent" onClick={() => go({ page: "deliveries", id: link.id })}>
              {link.text}
            </button>
          )}
          <button type="button" class="subtle" onClick={() => (notice.value = null)}>
            <span aria-hidden="true">✕</span>
            <span class="visually-hidden">Close</span>
          </button>
        </>
      )}
    </div>
  );
}
