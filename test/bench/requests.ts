// Signed requests, ready to be written to a socket: one buffer, all of the same length, every id and every user another.
// Whoever asks for more than was prepared gets a place that is signed anew, at some microseconds each.

import { createHmac } from "node:crypto";

import { messageId } from "../../src/clerk/message-id.ts";
import { sample } from "../../src/clerk/samples.ts";
import { SECRET } from "../harness.ts";
import { seeded } from "../random.ts";

const KEY = Buffer.from(SECRET.replace("whsec_", ""), "base64");
const USER = `user_${"0".repeat(27)}`;
const ID = `msg_${"0".repeat(27)}`;
const SIGNATURE = "A".repeat(44);
const SECONDS = "1".repeat(10);
const LEAST = 1_024;

export interface Requests {
  /** All of them, `size` bytes each. */
  readonly bytes: Buffer;
  readonly size: number;
  /** Signs so many, which replace all that was there. */
  prepare(count: number): void;
  /** The place of the next one: its bytes begin at `place * size`, and its id is `ids[place]`. */
  take(): number;
  readonly ids: readonly string[];
}

interface RequestOptions {
  /** Bytes of a body. */
  body?: number;
  path?: string;
  /** The same ones come again when all are used, as they are: for a server that does not look. */
  repeat?: boolean;
  /** None of the signatures is right. */
  forged?: boolean;
}

export function createRequests({
  body = 1_024,
  path = "/api/webhooks",
  repeat,
  forged,
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

  function sign(place: number) {
    const from = place * size;
    const now = Date.now();
    const id = messageId(now);
    const seconds = String(Math.floor(now / 1_000));
    const written = bytes.subarray(from, from + size);
    written.write(id, at.id, "latin1");
    written.write(seconds, at.seconds, "latin1");
    written.write(id.slice("msg_".length), at.user + "user_".length, "latin1");
    const signed = createHmac("sha256", KEY).update(`${id}.${seconds}.`).update(written.subarray(at.body));
    if (!forged) written.write(signed.digest("base64"), at.signature, "latin1");
    ids[place] = id;
  }

  function prepare(wanted: number) {
    count = Math.max(LEAST, Math.ceil(wanted));
    if (bytes.length < count * size) {
      bytes = Buffer.allocUnsafe(count * size);
      for (let place = 0; place < count; place += 1) template.copy(bytes, place * size);
    }
    for (let place = 0; place < count; place += 1) sign(place);
    [next, ready] = [0, count];
  }

  prepare(LEAST);
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
      else if (!repeat) sign(place);
      return place;
    },
    ids,
  };
}

/** A `user.created` of so many bytes: as many of a sample's fields as fit, then more addresses, then a note. */
export function userCreated(bytes: number): string {
  const { data, ...rest } = sample("user.created", { random: seeded(1) });
  const { email_addresses: addresses, ...others } = data;
  const event = { ...rest, data: { object: "user", id: USER } as Record<string, unknown> };
  const { event_attributes: _, ...small } = event;
  let best: Record<string, unknown> & { data: Record<string, unknown> } = small;
  const length = (value: unknown) => Buffer.byteLength(JSON.stringify(value));
  const add = (more: Record<string, unknown>) => {
    const wider = { ...best, data: { ...best.data, ...more } };
    // Room for the note.
    if (length(wider) + 40 <= bytes) best = wider;
    return best === wider;
  };
  for (const [name, value] of Object.entries({ email_addresses: addresses, ...others })) {
    if (!(name in best.data)) add({ [name]: value });
  }
  let many = addresses;
  while (add({ email_addresses: [...many, ...addresses] })) many = [...many, ...addresses];
  const note = "x".repeat(
    Math.max(0, bytes - length({ ...best, data: { ...best.data, unsafe_metadata: { note: "" } } })),
  );
  return JSON.stringify({ ...best, data: { ...best.data, unsafe_metadata: { note } } });
}
