// The messages of Svix's public relay, protocol version 1, as `svix listen` and `clerk webhooks listen` exchange them.
// Pure: no socket, no clock.

import { isObject } from "../json.ts";

/** Hosted by Svix; needs no account. The source of the protocol: github.com/svix/svix-webhooks, svix-cli/src/relay. */
export const RELAY_URL = "wss://api.relay.svix.com/api/v1/listen/";
/** The close code when another connection holds the token. Svix's reason is "This socket is already in use". */
export const CLOSE_TOKEN_IN_USE = 1008;

const VERSION = 1;
const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
// The relay accepts `c_` and ten characters, and no other form.
const TOKEN_LENGTH = 10;
const TOKEN = /^c_[0-9A-Za-z]{10}$/;
// The relay only chooses the token in its answer, so a longer one is accepted from it, but nothing that changes a URL.
const CONFIRMED_TOKEN = /^[\w-]{1,100}$/;

// They describe one connection, or a body that is encoded differently on the other side.
const CONNECTION_HEADERS = new Set([
  "connection",
  "content-encoding",
  "content-length",
  "host",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** A request that the relay has received. */
export interface RelayRequest {
  /** The relay's own id, which the answer repeats. */
  id: string;
  method: string;
  headers: Headers;
  body: Uint8Array<ArrayBuffer>;
}

export type Incoming = { kind: "start"; token: string } | { kind: "request"; request: RelayRequest };

/** A token that no other client has: 59 random bits. */
export function makeToken(): string {
  const characters: string[] = [];
  while (characters.length < TOKEN_LENGTH)
    for (const byte of crypto.getRandomValues(new Uint8Array(TOKEN_LENGTH))) {
      // Larger bytes would make the first characters of the alphabet more likely.
      const character = byte < 248 ? BASE62[byte % 62] : undefined;
      if (character && characters.length < TOKEN_LENGTH) characters.push(character);
    }
  return `c_${characters.join("")}`;
}

export function isToken(text: unknown): text is string {
  return typeof text === "string" && TOKEN.test(text);
}

/** The public address of a token. */
export function receiveUrl(token: string): string {
  return `https://play.svix.com/in/${token}/`;
}

export function startFrame(token: string): string {
  return JSON.stringify({ type: "start", version: VERSION, data: { token } });
}

/** A message of the relay; undefined for one that this version does not know. */
export function readFrame(text: string): Incoming | undefined {
  const frame = parse(text);
  if (!isObject(frame) || !isObject(frame["data"])) return undefined;
  const { token, id, method, headers, body } = frame["data"];
  if (frame["type"] === "start")
    return typeof token === "string" && CONFIRMED_TOKEN.test(token) ? { kind: "start", token } : undefined;
  if (frame["type"] !== "event" || typeof id !== "string") return undefined;
  return {
    kind: "request",
    request: {
      id,
      method: typeof method === "string" ? method : "POST",
      headers: readHeaders(headers),
      body: new Uint8Array(Buffer.from(typeof body === "string" ? body : "", "base64")),
    },
  };
}

/** The answer to a request, with its real status and body. */
export async function answerFrame(id: string, response: Response): Promise<string> {
  const headers = Object.fromEntries([...response.headers].filter(([name]) => !CONNECTION_HEADERS.has(name)));
  const body = Buffer.from(await response.arrayBuffer()).toString("base64");
  return JSON.stringify({ type: "event", version: VERSION, data: { id, status: response.status, headers, body } });
}

function readHeaders(given: unknown): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(isObject(given) ? given : {})) {
    if (typeof value !== "string" || CONNECTION_HEADERS.has(name.toLowerCase())) continue;
    try {
      headers.set(name, value);
    } catch {
      // Not a valid header. Without a signature that needs it, the request is answered 400.
    }
  }
  return headers;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
