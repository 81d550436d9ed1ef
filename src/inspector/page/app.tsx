// The frame of the page: navigation, the selected view, dialogs and notices.

import { useSignalEffect } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { api, signedOut, unreachable } from "./api.ts";
import { resume } from "./bulk-run.ts";
import { Bulk } from "./bulk.tsx";
import { Detail } from "./detail.tsx";
import { listenWhileVisible } from "./feed-client.ts";
import { Filters } from "./filters.tsx";
import { Handlers } from "./handlers.tsx";
import { Health } from "./health.tsx";
import { Help } from "./help.tsx";
import { List } from "./list.tsx";
import { Notice } from "./notice.tsx";
import { open } from "./opened.ts";
import { Refused, RefusedAlert, refusedToSee } from "./refused.tsx";
import { Replay } from "./replay.tsx";
import { loadNewest } from "./rows.ts";
import { Send } from "./send.tsx";
import { SignIn } from "./signin.tsx";
import {
  attempt,
  connection,
  dialog,
  filter,
  handlers,
  loadServer,
  narrowing,
  openId,
  refused,
  server,
  view,
} from "./state.ts";
import { type View, writeView } from "./view-url.ts";

export function App() {
  return signedOut.value ? <SignIn onDone={() => undefined} /> : <SignedIn />;
}

function SignedIn() {
  useEffect(() => {
    void attempt(loadServer);
    resume().catch(() => undefined);
    return listenWhileVisible();
  }, []);
  useSignalEffect(() => {
    if (narrowing.value) void loadNewest();
  });
  useSignalEffect(() => {
    void open(openId.value);
  });
  const { page, id } = view.value;
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>
        To the content
      </a>
      <Head />
      <main id="main" tabIndex={-1} class={`${page}${id === null ? "" : " split"}`}>
        {page === "deliveries" && (
          <>
            <div class="above">
              <Health />
              <RefusedAlert />
              <Filters />
            </div>
            <div class="panes">
              <List />
              {id !== null && <Detail />}
            </div>
          </>
        )}
        {page === "handlers" && <Handlers />}
        {page === "refused" && <Refused />}
      </main>
      <Dialogs />
      <Notice />
    </>
  );
}

/** A skip link. It must not change the URL's hash, which holds the view. */
function skip(event: Event) {
  event.preventDefault();
  document.querySelector<HTMLElement>("#main")?.focus();
}

function Dialogs() {
  if (dialog.value === "send") return <Send />;
  if (dialog.value === "bulk") return <Bulk />;
  if (dialog.value === "replay") return <Replay />;
  return dialog.value === "help" ? <Help /> : null;
}

function Head() {
  const about = server.value;
  const broken = (handlers.value ?? []).filter(({ error }) => error !== null).length;
  return (
    <header class="head">
      <p class="brand">Bellhop {about && <span class="faint">{about.mode}</span>}</p>
      <nav aria-label="Pages">
        <NavLink to="deliveries" label="Deliveries" />
        <NavLink to="handlers" label="Handlers" number={broken} of="that do not load" />
        <NavLink to="refused" label="Refused" number={refusedToSee(refused.value)} of="requests" />
      </nav>
      <Connection />
      <div class="actions">
        <button type="button" class="primary" title="Send a sample (s)" onClick={() => (dialog.value = "send")}>
          Send
        </button>
        <button type="button" class="subtle" title="Keys and signs (?)" onClick={() => (dialog.value = "help")}>
          <span aria-hidden="true">?</span>
          <span class="visually-hidden">Help</span>
        </button>
        {about?.signedIn === true && (
          <button type="button" class="subtle" onClick={() => void attempt(signOut)}>
            Sign out
          </button>
        )}
      </div>
    </header>
  );
}

async function signOut() {
  await api.signOut();
  signedOut.value = true;
}

function NavLink({ to, label, number = 0, of }: { to: View["page"]; label: string; number?: number; of?: string }) {
  return (
    <a
      href={writeView({ page: to, id: null, filter: filter.value })}
      aria-current={view.value.page === to ? "page" : undefined}
    >
      {label}
      {number > 0 && (
        <span class="badge">
          {number.toLocaleString("en")} <span class="visually-hidden">{of}</span>
        </span>
      )}
    </a>
  );
}

const CONNECTION = {
  connecting: "connecting",
  live: "live",
  lost: "not connected",
  paused: "paused",
};

function Connection() {
  const how = unreachable.value ? "lost" : connection.value;
  return (
    <p class={`connection ${how}`} role="status">
      <span class="dot" aria-hidden="true" /> {CONNECTION[how]}
    </p>
  );
}
