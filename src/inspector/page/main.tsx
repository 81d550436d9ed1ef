// The inspector's page: starts it in the browser.

import { render } from "preact";

import { api } from "./api.ts";
import { App } from "./app.tsx";
import { listenToKeys } from "./keys.ts";
import { followTheme } from "./preferences.ts";
import { followAddress, now } from "./state.ts";
import { followTitle } from "./title.ts";

const TOKEN = /^#token=([\w-]+)$/;

setInterval(() => {
  now.value = Date.now();
}, 1_000);

followTheme();
followTitle();
followAddress();
listenToKeys();

// When the link is opened in a tab that shows the page, only the hash changes, and the browser does not reload.
addEventListener("hashchange", () => TOKEN.test(location.hash) && location.reload());
await signInByAddress();
const root = document.querySelector("#app");
if (root) render(<App />, root);

/**
 * `bun dev` prints an address with a token, `#token=…`. Exchanges the token for a cookie, and removes it from the
 * history.
 */
async function signInByAddress() {
  const token = TOKEN.exec(location.hash)?.[1];
  if (token === undefined) return;
  history.replaceState(null, "", `${location.pathname}${location.search}`);
  // A token of an earlier start: the page asks for the right one, unless the browser has a session already.
  await api.signIn(token).catch(() => undefined);
}
