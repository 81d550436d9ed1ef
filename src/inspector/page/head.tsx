// The head of the page: which server this is, the pages with what needs attention, and the connection.

import { api, signedOut, unreachableSince } from "./api.ts";
import { openProblems, shownAtHome } from "./problems.ts";
import { refusedToSee } from "./refused.tsx";
import { release } from "./rows.ts";
import { attempt, connection, dialog, filter, handlers, isPaused, isProduction, server, view } from "./state.ts";
import { clock } from "./time.ts";
import { iconUrl } from "./title.ts";
import { type View, writeView } from "./view-url.ts";

export function Head() {
  const about = server.value;
  const broken = (handlers.value ?? []).filter(({ error }) => error !== null).length;
  return (
    <header class="head bar raised row">
      <p class="brand row tight">
        <img src={iconUrl("#6a5af0")} alt="" width="16" height="16" /> <b>Bellhop</b>
      </p>
      {about && (
        <p class={`server ${isProduction.value ? "chip retry" : "small faint"}`}>
          {isProduction.value ? "production" : "dev"} · {about.project}
        </p>
      )}
      <nav class="row tight" aria-label="Pages">
        <NavLink to="problems" label="Problems" number={openProblems.value ?? 0} of="open" />
        <NavLink to="deliveries" label="Deliveries" />
        <NavLink to="handlers" label="Handlers" number={broken} of="that do not load" />
        <NavLink to="refused" label="Refused" number={refusedToSee.value} of="requests" calm />
      </nav>
      <div class="actions row tight">
        <Connection />
        <button type="button" title="Send a sample (s)" onClick={() => (dialog.value = "send")}>
          Send…
        </button>
        <button
          type="button"
          class="subtle"
          title="Keys, signs and settings (?)"
          onClick={() => (dialog.value = "help")}
        >
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

interface NavLinkProps {
  to: Exclude<View["page"], "home" | "person">;
  label: string;
  number?: number;
  of?: string;
  /** Nothing is lost: a person may look at it later. */
  calm?: boolean;
}

function NavLink({ to, label, number = 0, of, calm = false }: NavLinkProps) {
  const { page } = view.value;
  const shown = page === "home" ? shownAtHome.value : page;
  return (
    <a
      href={writeView({ page: to, id: null, problem: null, filter: filter.value })}
      aria-current={shown === to ? "page" : undefined}
    >
      {label}
      {number > 0 && (
        <span class={`badge tiny${calm ? " calm" : ""}`}>
          {number.toLocaleString("en")} <span class="visually-hidden">{of}</span>
        </span>
      )}
    </a>
  );
}

const DOTS = { connecting: "faint", live: "good", lost: "bad", paused: "faint" };
const CONNECTION = { connecting: "connecting", live: "live", lost: "not connected", paused: "paused" };

/** Also the switch that stops the list. */
function Connection() {
  const how = unreachableSince.value !== null ? "lost" : isPaused.value ? "paused" : connection.value;
  const toggle = () => {
    isPaused.value = !isPaused.value;
    if (!isPaused.value) release();
  };
  return (
    <button
      type="button"
      class={`subtle connection ${how === "lost" ? "lost bad" : `${how} faint`}`}
      aria-pressed={isPaused.value}
      title={isPaused.value ? "Resume: show new deliveries (l)" : "Pause: keep the list as it is (l)"}
      onClick={toggle}
    >
      <span class={DOTS[how]} aria-hidden="true">
        ●
      </span>{" "}
      <span aria-live="polite">{CONNECTION[how]}</span>
    </button>
  );
}

export function Offline() {
  const since = unreachableSince.value;
  if (since === null) return null;
  return (
    <p class="alert offline" role="alert">
      The server has not answered since {clock(since, Date.now())}. What this page shows may be outdated.
    </p>
  );
}
