// Whether an event is about a user: it names the user, or a message was sent to an address of the user. Pure.

interface Named {
  readonly [name: string]: unknown;
}

/** Ids and addresses that only this user has: of e-mail addresses and phone numbers. */
export type Identifiers = ReadonlySet<string>;

/** The identifiers in the data of a `user.…` event. */
export function identifiersIn(data: unknown): string[] {
  const { email_addresses, phone_numbers } = (data ?? {}) as Named;
  return [...listOf(email_addresses), ...listOf(phone_numbers)].flatMap(({ id, email_address, phone_number }) =>
    [id, email_address, phone_number].filter((value) => typeof value === "string" && value !== ""),
  ) as string[];
}

/**
 * Whether an event names the user in a `user_id`, such as `public_user_data.user_id`, or is a message to one of the
 * addresses. A message that names another user is not about this one, although the address may have been this user's.
 */
export function isAboutUser(type: string, data: unknown, user: string, addresses: Identifiers): boolean {
  if (namesUser(data, user)) return true;
  if (!/^(?:email|sms)\./.test(type)) return false;
  const { user_id, ...message } = (data ?? {}) as Named;
  if (typeof user_id === "string" && user_id !== "") return false;
  return RECIPIENTS.some((name) => addresses.has(message[name] as string));
}

const RECIPIENTS = ["email_address_id", "to_email_address", "phone_number_id", "to_phone_number"];

function namesUser(value: unknown, user: string): boolean {
  if (Array.isArray(value)) return value.some((item) => namesUser(item, user));
  if (typeof value !== "object" || value === null) return false;
  return Object.entries(value).some(([name, item]) => (name === "user_id" ? item === user : namesUser(item, user)));
}

function listOf(value: unknown): Named[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "object" && item !== null) : [];
}
