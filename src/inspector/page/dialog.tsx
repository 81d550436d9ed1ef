// A native dialog element, which handles focus, esc and the inert rest of the page.

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

import { dialog } from "./state.ts";

interface DialogProps {
  title: string;
  children: ComponentChildren;
  wide?: boolean;
  /** Something was typed: a click beside the dialog does not close it. */
  isDirty?: () => boolean;
}

export function Dialog({ title, children, wide = false, isDirty = () => false }: DialogProps) {
  const box = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const { current } = box;
    const before = document.activeElement;
    current?.showModal();
    // The browser restores the focus only if the dialog is closed before it is removed.
    return () => {
      current?.close();
      if (before instanceof HTMLElement) before.focus({ preventScroll: true });
    };
  }, []);
  return (
    <dialog
      ref={box}
      class={`floating${wide ? " wide" : ""}`}
      aria-labelledby="dialog-heading"
      // After esc, the close event comes a moment later, and the next key would be lost until then.
      onCancel={() => (dialog.value = null)}
      onClose={() => {
        // Unless another dialog has replaced this one.
        if (box.current) dialog.value = null;
      }}
      onClick={(event) => {
        if (event.target === box.current && !isDirty()) dialog.value = null;
      }}
    >
      <div class="stack loose pad">
        <header class="row">
          <h1 id="dialog-heading" class="grow">
            {title}
          </h1>
          <button type="button" class="subtle" title="Close (esc)" onClick={() => (dialog.value = null)}>
            <span aria-hidden="true">✕</span>
            <span class="visually-hidden">Close</span>
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}
