// The list while nothing is stored: three ways to a first event, with the URLs of this server.

import type { ServerJson } from "../../api/server-types.ts";
import { Snippet } from "./components.tsx";
import { dialog } from "./state.ts";

export function EmptyState({ server }: { server: ServerJson }) {
  const { command, webhookUrl, publicUrl, isDevSecret, secretHint, handlersDir } = server;
  return (
    <div class="empty-state stack loose">
      <h2 class="heading">No deliveries yet</h2>
      <p>This page updates by itself. Three ways to send a first event:</p>
      <ol class="stack loose">
        <li class="panel pad start stack">
          <h3>From here</h3>
          <p>A sample of any of Clerk's events, signed and sent to this server.</p>
          <button type="button" class="primary" onClick={() => (dialog.value = "send")}>
            Send a sample…
          </button>
        </li>
        <li class="panel pad start stack">
          <h3>From a terminal</h3>
          <Snippet text={`${command} send user.created`} />
        </li>
        <li class="panel pad start stack">
          <h3>From Clerk</h3>
          {publicUrl === null ? (
            <Tunnel command={command} webhookUrl={webhookUrl} />
          ) : (
            <p>
              In the Dashboard, Webhooks, Add Endpoint, enter this URL; then on its Testing tab: <b>Send Example</b>.
            </p>
          )}
          {publicUrl !== null && <Snippet text={publicUrl} />}
          {isDevSecret ? (
            <p class="warn">
              The secret in use ({secretHint}) was made by <code>{command} dev</code>, and Clerk does not know it: paste
              the endpoint's own into <code>.env</code> as <code>CLERK_WEBHOOK_SIGNING_SECRET</code>. It is used at
              once.
            </p>
          ) : (
            <p class="faint">
              Signed with the secret of that endpoint: this server knows <code>{secretHint}</code>.
            </p>
          )}
        </li>
      </ol>
      <p class="faint">
        Handlers are files in <code>{handlersDir}/</code>; <code>{command} new user.created</code> writes one. An event
        without a handler is stored, too.
      </p>
    </div>
  );
}

function Tunnel({ command, webhookUrl }: Pick<ServerJson, "command" | "webhookUrl">) {
  return (
    <>
      <p>Clerk can't reach this machine yet. Start with the relay of Svix, or run ngrok in another terminal:</p>
      <Snippet text={`${command} dev --tunnel`} />
      <Snippet text={`ngrok http ${portOf(webhookUrl)}`} />
      <p>
        Then in the Dashboard, Webhooks, Add Endpoint, with the tunnel's URL and this path:{" "}
        <code>{pathOf(webhookUrl)}</code>; on its Testing tab: <b>Send Example</b>.
      </p>
    </>
  );
}

function portOf(url: string): string {
  return URL.canParse(url) ? new URL(url).port || "80" : "3000";
}

function pathOf(url: string): string {
  return URL.canParse(url) ? new URL(url).pathname : url;
}
