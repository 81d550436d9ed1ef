// The frame of the page: navigation, the selected view, dialogs and notices.

import { untracked, useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

import { signedOut } from "./api.ts";
import { resume } from "./bulk-job.ts";
import { BulkStrip } from "./bulk-progress.tsx";
import { Bulk } from "./bulk.tsx";
import { Detail } from "./detail.tsx";
import { Edit } from "./edit.tsx";
import { listenToFeed } from "./feed-client.ts";
import { Filters } from "./filters.tsx";
import { Handlers } from "./handlers.tsx";
import { Head, Offline } from "./head.tsx";
import { Health } from "./health.tsx";
import { Help } from "./help.tsx";
import { List } from "./list.tsx";
import { Notice } from "./notice.tsx";
import { open } from "./opened.ts";
import { People } from "./people.tsx";
import { Person } from "./person.tsx";
import { Problems } from "./problems-view.tsx";
import { problems, shownAtHome } from "./problems.ts";
import { Refused, RefusedAlert } from "./refused.tsx";
import { Replay } from "./replay.tsx";
import { loadNewest } from "./rows.ts";
import { Send } from "./send.tsx";
import { SignIn } from "./signin.tsx";
import { attempt, dialog, loadServer, narrowing, openId, view } from "./state.ts";
import { Try } from "./try.tsx";

export function App() {
  return signedOut.value ? <SignIn /> : <SignedIn />;
}

function SignedIn() {
  const shownId = useRef<string | null>(null);
  useEffect(() => {
    // The first question finds out whether this browser has a session.
    void attempt(loadServer);
    void problems.load();
    resume().catch(() => undefined);
    return listenToFeed();
  }, []);
  useSignalEffect(() => {
    // Only the filter reloads the list, and not what loading reads.
    if (narrowing.value) void untracked(() => loadNewest());
  });
  useSignalEffect(() => {
    const id = view.value.page === "person" ? null : openId.value;
    if (id !== shownId.current) void untracked(() => open(id));
    shownId.current = id;
  });
  return (
    <>
      <a class="skip pad" href="#main" onClick={skip}>
        To the content
      </a>
      <Head />
      <Offline />
      <BulkStrip />
      <Main />
      <Dialogs />
      <Notice />
    </>
  );
}

function Main() {
  const { page, id } = view.value;
  const shown = page === "home" ? shownAtHome.value : page;
  const isSplit = id !== null && (shown === "deliveries" || shown === "problems");
  return (
    <main id="main" tabIndex={-1} class={`${shown}${isSplit ? " split" : ""}`}>
      {(shown === "deliveries" || shown === "problems") && (
        <>
          <div class="above stack">
            <Health />
            <RefusedAlert />
            {shown === "deliveries" && <Filters />}
            {shown === "deliveries" && <People />}
          </div>
          <div class="panes">
            {shown === "deliveries" ? <List /> : <Problems />}
            {id !== null && <Detail />}
          </div>
        </>
      )}
      {shown === "person" && id !== null && <Person key={id} id={id} />}
      {shown === "handlers" && <Handlers />}
      {shown === "refused" && <Refused />}
    </main>
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
  if (dialog.value === "edit") return <Edit />;
  if (dialog.value === "try") return <Try />;
  return dialog.value === "help" ? <Help /> : null;
}
