// The table of all refusals: code, status and remedy. A test compares the table of docs/http.md with it.

import { COMMAND } from "./command.ts";

export interface Refusal {
  status: number;
  /** The reason, for the log and the answer. */
  message: string;
  /** The next step for the reader of the log. */
  remedy: string;
}

export const refusals = {
  missing_headers: {
    status: 400,
    message: "the request has no complete set of svix-id, svix-timestamp and svix-signature",
    remedy: `Only Clerk's webhooks (through Svix) belong here; to try one yourself: ${COMMAND} send user.created`,
  },
  bad_id: {
    status: 400,
    message: "the svix-id is not 1 to 256 printable ASCII characters without a dot",
    remedy: "Svix never sends such an id: a proxy changes headers, or a client is probing",
  },
  bad_timestamp: {
    status: 400,
    message: "the svix-timestamp is not a whole number of seconds",
    remedy: "Svix never sends such a time: a proxy changes headers, or a client is probing",
  },
  no_match: {
    status: 400,
    message: "the signature does not match",
    remedy:
      "Copy the signing secret of this very endpoint (Clerk Dashboard, Webhooks, your endpoint) into " +
      "CLERK_WEBHOOK_SIGNING_SECRET; if it is right, something on the way (a proxy, a body parser) changes the body",
  },
  too_old: {
    status: 400,
    message: "the signature is right, but the request is older than five minutes",
    remedy:
      "Set this machine's clock (timedatectl, or restart the container host); if it is right, a client replays old requests",
  },
  too_new: {
    status: 400,
    message: "the signature is right, but the request is dated more than five minutes ahead",
    remedy: "Set this machine's clock: it is behind (timedatectl, or restart the container host)",
  },
  not_an_event: {
    status: 422,
    message: "the body is signed, but is not a Clerk event: a JSON object with a string `type` and an object `data`",
    remedy: "Is another Svix sender using this secret? Svix retries for 28 hours, which leaves time to upgrade Bellhop",
  },
  body_too_large: {
    status: 413,
    message: "the body is larger than MAX_BODY_BYTES",
    remedy: "Raise MAX_BODY_BYTES if Clerk really sends that much; its events rarely exceed 50 KB",
  },
  body_dropped: {
    status: 408,
    message: "the body was incomplete when too many unverified bodies were open",
    remedy:
      "A client sends incomplete requests: put a proxy that buffers requests in front of this port. Svix retries by itself",
  },
  method_not_allowed: {
    status: 405,
    message:
      "This is the address for Clerk's webhooks, and it works. Clerk sends POST requests here; there is nothing to see in a browser.",
    remedy: `Nothing to do; add this address as an endpoint in the Clerk Dashboard, or try it with: ${COMMAND} send user.created`,
  },
  wrong_path: {
    status: 404,
    message: "a signed request was sent to a path that is not the webhook's",
    remedy: "Correct the endpoint's URL in the Clerk Dashboard, or set WEBHOOK_PATH",
  },
  not_found: {
    status: 404,
    message: "nothing is served here",
    remedy: "The public port answers the webhook path and /health, and nothing else",
  },
  unavailable: {
    status: 503,
    message: "the inbox can't be written",
    remedy: "See the log line before this one: most often the disk is full. Svix retries by itself",
  },
  internal: {
    status: 500,
    message: "an internal error",
    remedy: "The log line before this one has the error: please report it. Svix retries by itself",
  },
  shutting_down: {
    status: 503,
    message: "the server is shutting down",
    remedy: "Nothing to do: Svix retries by itself",
  },
} as const satisfies Record<string, Refusal>;

export type RefusalCode = keyof typeof refusals;

/** The message of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** Exit code for invalid settings: `EX_CONFIG` of sysexits.h. */
export const EXIT_CONFIG = 78;

/** An error that a person can fix: only its message is printed, without a stack. */
export class UserError extends Error {
  constructor(
    message: string,
    readonly exitCode = 1,
  ) {
    super(message);
  }
}

/** The inbox could not make a write durable, and nothing of it is stored. The caller answers 503, and retries later. */
export class InboxUnavailable extends Error {
  constructor(cause: unknown) {
    super(messageOf(cause), { cause });
  }
}
