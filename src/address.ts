// The addresses of the server's ports, and errors of listening on them.

import { UserError } from "./errors.ts";

/** `http://[::1]:3000`. */
export function urlOf(host: string, port: number): string {
  return `http://${host.includes(":") && !host.startsWith("[") ? `[${host}]` : host}:${port}`;
}

/** The URL as this machine reaches it. A server on all addresses is also on the loopback address. */
export function localUrlOf(host: string, port: number): string {
  return urlOf(host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host, port);
}

interface Listening {
  host: string;
  port: number;
  /** The settings to change, with values that work on most machines. */
  settings: { port: readonly [name: string, example: number]; host: string };
}

/** Turns an error of listening into one with a remedy. Returns any other error unchanged. */
export function listenError(error: unknown, { host, port, settings }: Listening): unknown {
  const [name, example] = settings.port;
  const noAddress = `This machine has no address ${host}.\n\n    ${settings.host}`;
  const reasons: Record<string, string> = {
    EADDRINUSE:
      `Port ${port} is taken, perhaps by another Bellhop server.\n\n` +
      `    Stop that one, or pick another port: ${name}=${port === example ? example + 100 : example}`,
    EACCES: `Port ${port} needs more permissions than this user has, as all ports below 1024 do.\n\n    ${name}=${example}`,
    ENOTFOUND: noAddress,
  };
  const { code, syscall } = error as { code?: unknown; syscall?: unknown };
  // For a name that does not resolve, Bun gives the code of whatever failed before.
  const reason = reasons[String(code)] ?? (syscall === "listen" ? noAddress : undefined);
  return reason ? new UserError(reason) : error;
}
