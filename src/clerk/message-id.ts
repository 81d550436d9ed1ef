// Ids in the shape of Svix's: `msg_` and a KSUID (github.com/segmentio/ksuid), which sort by the time they were made.

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
// KSUIDs count seconds from here, so that four bytes last until 2150.
const EPOCH_SECONDS = 1_400_000_000;
const LENGTH = 27;

/** A new message id; `now` in milliseconds. */
export function messageId(now: number): string {
  const bytes = Buffer.alloc(20);
  bytes.writeUInt32BE(Math.floor(now / 1_000) - EPOCH_SECONDS);
  crypto.getRandomValues(bytes.subarray(4));
  let number = BigInt(`0x${bytes.toString("hex")}`);
  let text = "";
  for (; text.length < LENGTH; number /= 62n) text = ALPHABET.charAt(Number(number % 62n)) + text;
  return `msg_${text}`;
}
