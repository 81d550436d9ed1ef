// Every answer that is no 200, in one table: code, status, and what to do about it.
// The README's table is this one, and a test holds them together.

export interface Refusal {
  status: number;
  /** What happened, for the log and the answer. */
  says: string;
  /** What the person who reads the log does next. */
  remedy: string;
}

export const refusals = {
  missing_headers: {
    status: 400,
    says: "the request has no complete set of svix-id, svix-timestamp and svix-signature",
    remedy: "Only Clerk's webhooks (through Svix) belong here; to try one yourself: bun send user.created",
  },
  bad_id: {
    status: 400,
    says: "the svix-id is not 1 to 256 printable ASCII characters without a dot",
    remedy: "Svix never sends such an id; something on the way changes headers, or somebody is probing",
  },
  bad_timestamp: {
    status: 400,
    says: "the svix-timestamp is not a whole number of seconds",
    remedy: "Svix never sends such a time; something on the way changes headers, or somebody is probing",
  },
  no_match: {
    status: 400,
    says: "the signature does not match",
    remedy:
      "Copy the signing secret of this very endpoint (Clerk Dashboard, Webhooks, your endpoint) into " +
      "CLERK_WEBHOOK_SIGNING_SECRET; if it is right, something on the way (a proxy, a body parser) changes the body",
  },
  too_old: {
    status: 400,
    says: "the signature is right, but the request is older than five minutes",
    remedy:
      "Set this machine's clock (timedatectl, or restart the container host); if it is right, somebody replays old requests",
  },
  too_new: {
    status: 400,
    says: "the signature is right, but the request comes from more than five minutes ahead",
    remedy: "Set this machine's clock: it is behind (timedatectl, or restart the container host)",
  },
  not_an_event: {
    status: 422,
    says: "the body is signed, but is no Clerk event: a JSON object with a string `type` and an object `data`",
    remedy:
      "Is another Svix sender using this secret? Svix goes on trying for 28 hours: time enough to upgrade Bellhop",
  },
  body_too_large: {
    status: 413,
    says: "the body is larger than MAX_BODY_BYTES",
    remedy: "Raise MAX_BODY_BYTES if Clerk really sends so much; it seldom sends over 50 KB",
  },
  method_not_allowed: {
    status: 405,
    says: "This is the address for Clerk's webhooks, and it works. Clerk sends POST requests here; there is nothing to see in a browser.",
    remedy:
      "Nothing to do; add this address as an endpoint in the Clerk Dashboard, or try it with: bun send user.created",
  },
  wrong_path: {
    status: 404,
    says: "a signed request came to a path that is not the webhook's",
    remedy: "Correct the endpoint's URL in the Clerk Dashboard, or set WEBHOOK_PATH",
  },
  not_found: {
    status: 404,
    says: "nothing is served here",
    remedy: "The public port answers the webhook path and /health, and nothing else",
  },
  unavailable: {
    status: 503,
    says: "the inbox can't be written",
    remedy: "See the log line before this one: most often the disk is full. Svix tries again by itself",
  },
  internal: {
    status: 500,
    says: "Bellhop has made a mistake",
    remedy: "The log line before this one has the error: please report it. Svix tries again by itself",
  },
  shutting_down: {
    status: 503,
    says: "the server is shutting down",
    remedy: "Nothing to do: Svix tries again by itself",
  },
} as const satisfies Record<string, Refusal>;

export type RefusalCode = keyof typeof refusals;

/** Exit code for settings that need a person: `EX_CONFIG` of sysexits.h. */
export const EXIT_CONFIG = 78;

/** A mistake that a person can mend: printed as its message alone, without a stack. */
export class UserError extends Error {
  constructor(
    message: string,
    readonly exitCode = 1,
  ) {
    super(message);
  }
}

/** The inbox could not make something durable: nothing of it is stored. The caller says 503 and asks again later. */
export class InboxUnavailable extends Error {
  constructor(cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}
