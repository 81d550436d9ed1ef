// Asks for the token. The page sends it once and does not keep it; the server answers with a cookie.

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

import { messageOf } from "../../errors.ts";
import { api, signedOut } from "./api.ts";

export function SignIn() {
  const field = useRef<HTMLInputElement>(null);
  // `autofocus` works only while the page loads, and a session may end later.
  useEffect(() => field.current?.focus(), []);
  const trouble = useSignal("");
  const waiting = useSignal(false);
  const signIn = async (form: HTMLFormElement) => {
    const token = new FormData(form).get("token");
    waiting.value = true;
    try {
      await api.signIn(typeof token === "string" ? token : "");
      signedOut.value = false;
    } catch (error) {
      trouble.value = messageOf(error);
      form.querySelector("input")?.select();
    }
    waiting.value = false;
  };
  return (
    <main class="sign-in">
      <form
        class="stack loose"
        onSubmit={(event) => {
          event.preventDefault();
          void signIn(event.currentTarget);
        }}
      >
        <h1>Bellhop</h1>
        <label class="stack tight">
          <span>Token</span>
          <input
            ref={field}
            name="token"
            type="password"
            autocomplete="current-password"
            required
            maxLength={1_000}
            aria-describedby="sign-in-trouble"
            aria-invalid={trouble.value !== ""}
          />
        </label>
        <p id="sign-in-trouble" class="bad" role="alert">
          {trouble.value}
        </p>
        <button type="submit" class="primary" disabled={waiting.value}>
          {waiting.value ? "Signing in…" : "Sign in"}
        </button>
        <p class="faint">
          The server's <code>INSPECTOR_TOKEN</code>, or, without one, the token in the URL that the server printed at
          its start.
        </p>
      </form>
    </main>
  );
}
