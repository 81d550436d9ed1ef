// Creates message ids in Svix's format: `msg_` and a KSUID whose fifth byte counts steps of 4 ms (`KsuidMs` in
// github.com/svix/rust-ksuid), so that ids can be sorted by their creation time.

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
// The KSUID epoch. Its 32-bit timestamp counts seconds from here and lasts until 2150.
const KSUID_EPOCH_SECONDS = 1_400_000_000;
const KSUID_LENGTH = 27;
const STEP_MS = 4;

/** Returns a new message id; `now` is in milliseconds. */
export function messageId(now: number): string {
  return `msg_${ksuid(now, Math.floor((now % 1_000) / STEP_MS))}`;
}

/** Returns a new KSUID, as in the ids of Clerk's objects; `now` is in milliseconds. Default for its fifth byte: random. */
export function ksuid(now: number, fifthByte?: number): string {
  const bytes = crypto.getRandomValues(Buffer.alloc(20));
  bytes.writeUInt32BE(Math.floor(now / 1_000) - KSUID_EPOCH_SECONDS);
  if (fifthByte !== undefined) bytes[4] = fifthByte;
  let number = BigInt(`0x${bytes.toString("hex")}`);
  let text = "";
  for (; text.length < KSUID_LENGTH; number /= 62n) text = ALPHABET.charAt(Number(number % 62n)) + text;
  return text;
}
