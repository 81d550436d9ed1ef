// The inspector's page: starts it in the browser.

import { render } from "preact";

import { App } from "./app.tsx";
import { listenToKeys } from "./keys.ts";
import { followAddress, now } from "./state.ts";

setInterval(() => {
  now.value = Date.now();
}, 1_000);

followAddress();
listenToKeys();

const root = document.querySelector("#app");
if (root) render(<App />, root);
