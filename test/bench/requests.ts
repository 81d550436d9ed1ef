// Signed requests, ready to be written to a socket: one buffer of requests with equal length, unique ids and unique users.
// When all prepared requests are used, each further one is signed on demand, which takes some microseconds.

import { createHmac } from "node:crypto";

import { ksuid, messageId } from "../../src/clerk/message-id.ts";
import { sample } from "../../src/clerk/samples.ts";
import { SECRET } from "../harness.ts";
import { seeded } from "../random.ts";

const KEY = Buffer.from(SECRET.replace("whsec_", ""), "base64");
const USER = `user_${"0".repeat(27)}`;
const ID = `msg_${"0".repeat(27)}`;
const SIGNATURE = "A".repeat(44);
const SECONDS = "1".repeat(10);
const MIN_COUNT = 1_024;

export interface Requests {
  /** All requests, `size` bytes each. */
  readonly bytes: Buffer;
  readonly size: number;
  /** Signs the requests of so many seconds, which replace the previous ones. Each id is as old as if it was sent in time. */
  prepare(perSecond: number, seconds: number): void;
  /** Returns the place of the next request: its bytes begin at `place * size`, and its id is `ids[place]`. */
  take(): number;
  readonly ids: readonly string[];
}

interface RequestOptions {
  /** The length of a body in bytes. */
  body?: number;
  path?: string;
  /** Reuses the requests unchanged when all are used, for a server that does not verify. */
  repeat?: boolean;
  /** Makes every signature invalid. */
  forged?: boolean;
  /** Each event is about one of these users, chosen at random. Default: about a new one. */
  users?: readonly string[];
}

export function createRequests({
  body = 1_024,
  path = "/api/webhooks",
  repeat,
  forged,
  users,
}: RequestOptions = {}): Requests {
  const text = userCreated(body);
  const head = [
    `POST ${path} HTTP/1.1`,
    "host: bellhop.example",
    "user-agent: Svix-Webhooks/1.84.0",
    "accept: */*",
    "content-type: application/json",
    `content-length: ${Buffer.byteLength(text)}`,
    `svix-id: ${ID}`,
    `svix-timestamp: ${SECONDS}`,
    `svix-signature: v1,${SIGNATURE}`,
  ].join("\r\n");
  const template = Buffer.from(`${head}\r\n\r\n${text}`);
  const size = template.length;
  const at = {
    id: template.indexOf(ID),
    seconds: template.indexOf(SECONDS),
    signature: template.indexOf(SIGNATURE),
    body: size - Buffer.byteLength(text),
    user: template.indexOf(USER),
  };
  const ids: string[] = [];
  let bytes = Buffer.alloc(0);
  let [count, next, ready] = [0, 0, 0];

  /** `createdAt`: when the delivery and its user were created, in milliseconds. */
  function sign(place: number, createdAt: number) {
    const from = place * size;
    const id = messageId(createdAt);
    const seconds = String(Math.floor(Date.now() / 1_000));
    const request = bytes.subarray(from, from + size);
    request.write(id, at.id, "latin1");
    request.write(seconds, at.seconds, "latin1");
    request.write(users?.[Math.floor(Math.random() * users.length)] ?? `user_${ksuid(createdAt)}`, at.user, "latin1");
    const signed = createHmac("sha256", KEY).update(`${id}.${seconds}.`).update(request.subarray(at.body));
    if (!forged) request.write(signed.digest("base64"), at.signature, "latin1");
    ids[place] = id;
  }

  function prepare(perSecond: number, seconds: number) {
    count = Math.max(MIN_COUNT, Math.ceil(perSecond * seconds));
    if (bytes.length < count * size) {
      bytes = Buffer.allocUnsafe(count * size);
      for (let place = 0; place < count; place += 1) template.copy(bytes, place * size);
    }
    const now = Date.now();
    for (let place = 0; place < count; place += 1) sign(place, now + (place / perSecond) * 1_000);
    [next, ready] = [0, count];
  }

  prepare(MIN_COUNT, 1);
  return {
    get bytes() {
      return bytes;
    },
    size,
    prepare,
    take() {
      const place = next;
      next = next + 1 === count ? 0 : next + 1;
      if (ready > 0) ready -= 1;
      else if (!repeat) sign(place, Date.now());
      return place;
    },
    ids,
  };
}

/** A `user.created` body of exactly `bytes` bytes: the fields of a sample that fit, more email addresses, then padding. */
export function userCreated(bytes: number): string {
  const { data, ...rest } = sample("user.created", { random: seeded(1) });
  const { email_addresses: addresses, ...others } = data;
  const event = { ...rest, data: { object: "user", id: USER } as Record<string, unknown> };
  const { event_attributes: _, ...minimal } = event;
  let current: Record<string, unknown> & { data: Record<string, unknown> } = minimal;
  const length = (value: unknown) => Buffer.byteLength(JSON.stringify(value));
  const addIfItFits = (fields: Record<string, unknown>) => {
    const extended = { ...current, data: { ...current.data, ...fields } };
    // 40 bytes are left for the padding's own field.
    if (length(extended) + 40 <= bytes) current = extended;
    return current === extended;
  };
  for (const [name, value] of Object.entries({ email_addresses: addresses, ...others })) {
    if (!(name in current.data)) addIfItFits({ [name]: value });
  }
  let repeated = addresses;
  while (addIfItFits({ email_addresses: [...repeated, ...addresses] })) repeated = [...repeated, ...addresses];
  const note = "x".repeat(
    Math.max(0, bytes - length({ ...current, data: { ...current.data, unsafe_metadata: { note: "" } } })),
  );
  return JSON.stringify({ ...current, data: { ...current.data, unsafe_metadata: { note } } });
}
