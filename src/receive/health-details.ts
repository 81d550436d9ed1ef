// The details of /health. Its status depends on deliveries only, which are stored even while the handlers' database is
// unavailable. Unauthenticated clients can read the details, so they never contain a path, a host or a user.

import { FileMoved } from "../open-files.ts";

export interface HealthDetails {
  /** Why deliveries can't be stored. */
  reason?: string;
  /** Handlers that use `db` wait for it. */
  database?: string;
  /** Lines are dropped until it can be written again. */
  log?: string;
  /** The latest message to a person was not accepted. */
  alerts?: string;
}

interface Troubles {
  inbox?: unknown;
  database?: unknown;
  /** An error code. */
  log?: string | undefined;
  alerts?: boolean;
}

/** Takes the last error of each; undefined when it works. */
export function describeHealth({ inbox, database, log, alerts = false }: Troubles): HealthDetails {
  return {
    ...(inbox !== undefined && { reason: `the inbox can't be written: ${describeTrouble(inbox)}` }),
    ...(database !== undefined && { database: `handlers can't write to it: ${describeTrouble(database)}` }),
    ...(log !== undefined && { log: `it can't be written: ${describeTrouble({ code: log })}` }),
    ...(alerts && { alerts: "the latest one could not be sent: see the log" }),
  };
}

/** The reason of a trouble, for everyone. */
export function describeTrouble(trouble: unknown): string {
  if (trouble instanceof FileMoved) return "its file was moved, removed or replaced";
  const { code, errno, message } = (trouble ?? {}) as Record<"code" | "errno" | "message", unknown>;
  const known = [code, errno, message].map(String).join(" ");
  return REASONS.find(([pattern]) => pattern.test(known))?.[1] ?? "see the log and standard error";
}

const REASONS: readonly [RegExp, string][] = [
  [/SQLITE_FULL|ENOSPC|\b53100\b/, "the disk is full"],
  [/SQLITE_(?:CORRUPT|NOTADB)/, "its file is damaged"],
  [/SQLITE_(?:BUSY|LOCKED)|locked/, "another program has locked it"],
  [/SQLITE_READONLY|EROFS|\b25006\b/, "it is read-only"],
  [/SQLITE_IOERR|EIO/, "the disk fails"],
  [/EPIPE/, "its reader is gone"],
  [/\b28(?:000|P01)\b/, "Postgres refuses the user or the password"],
  [/\b53300\b/, "Postgres has no free connection"],
  [
    /\b(?:08...|57P..)\b|ERR_POSTGRES_(?:CONNECTION|FAILED)|Postgres d(?:id|oes) not answer/,
    "Postgres does not answer",
  ],
  [/not (?:been )?answer/, "it does not answer"],
];
