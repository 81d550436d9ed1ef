// In production, a question before real handlers run on invented data. Required, so that Enter alone sends nothing.

import type { ComponentChildren } from "preact";

import { isProduction } from "./state.ts";

export function Sure({ children }: { children: ComponentChildren }) {
  if (!isProduction.value) return null;
  return (
    <label class="alert row">
      <input type="checkbox" required />
      <span class="grow">This server is in production: {children}</span>
    </label>
  );
}
