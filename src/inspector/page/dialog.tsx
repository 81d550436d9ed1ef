// A dialog: the browser's own, so that focus, esc and the rest of the page behave as people expect.

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

import { dialog } from "./state.ts";

export function Dialog({ title, children, wide }: { title: string; children: ComponentChildren; wide?: boolean }) {
  const box = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const { current } = box;
    const before = document.activeElement;
    current?.showModal();
    // Taken out of the page while open, the browser gives the focus back to nobody.
    return () => {
      current?.close();
      if (before instanceof HTMLElement) before.focus({ preventScroll: true });
    };
  }, []);
  return (
    <dialog
      ref={box}
      class={wide ? "wide" : ""}
      aria-labelledby="dialog-heading"
      // Esc: the browser tells of the close a moment later, and until then the next key would be nobody's.
      onCancel={() => (dialog.value = null)}
      onClose={() => {
        // Not when another dialog has taken its place.
        if (box.current) dialog.value = null;
      }}
      onClick={(event) => {
        if (event.target === box.current) dialog.value = null;
      }}
    >
      <div class="sheet">
        <header>
          <h1 id="dialog-heading">{title}</h1>
          <button type="button" class="close" title="Close (esc)" onClick={() => (dialog.value = null)}>
            <span aria-hidden="true">✕</span>
            <span class="unseen">Close</span>
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}
