// Reads from a payload which user and organization it is about, for rows and searches. Pure.
// The shapes are Clerk's, but anything may be missing: a payload is never trusted to be complete.

/** The person or organization that an event is about, as far as its payload names them. */
export interface Who {
  name: string | null;
  email: string | null;
  /** `user_…` */
  user: string | null;
  /** `org_…` */
  organization: string | null;
}

type Fields = Record<string, unknown>;

export function whoIn(body: Uint8Array | null): Who | null {
  if (body === null) return null;
  try {
    const { type, data } = JSON.parse(new TextDecoder().decode(body)) as { type?: unknown; data?: unknown };
    return typeof type === "string" ? whoOf(type, fields(data)) : null;
  } catch {
    return null;
  }
}

export function whoOf(type: string, data: Fields): Who | null {
  const kind = type.split(".")[0];
  const person = [data, fields(data["public_user_data"]), fields(data["user"]), fields(data["payer"])];
  const organization = fields(data["organization"]);
  const who = {
    name: first(person.map(fullName)) ?? text(data["name"]) ?? text(organization["name"]),
    email: first(person.map(emailOf)),
    user: (kind === "user" ? text(data["id"]) : null) ?? first(person.map((part) => text(part["user_id"]))),
    organization:
      (kind === "organization" ? text(data["id"]) : null) ?? text(data["organization_id"]) ?? text(organization["id"]),
  };
  return Object.values(who).some((value) => value !== null) ? who : null;
}

/** All e-mail addresses, names and phone numbers of a user's payload. */
export function namesOf(data: Fields): string[] {
  const list = (name: string, value: string) =>
    (Array.isArray(data[name]) ? data[name] : []).map((entry: unknown) => text(fields(entry)[value]));
  return [
    fullName(data),
    text(data["username"]),
    ...list("email_addresses", "email_address"),
    ...list("phone_numbers", "phone_number"),
  ].filter((name) => name !== null);
}

function fullName(data: Fields): string | null {
  return (
    [data["first_name"], data["last_name"]]
      .map(text)
      .filter((name) => name !== null)
      .join(" ") || null
  );
}

function emailOf(data: Fields): string | null {
  const addresses = (Array.isArray(data["email_addresses"]) ? data["email_addresses"] : []).map(fields);
  const primary = addresses.find(({ id }) => id === data["primary_email_address_id"]) ?? addresses[0];
  const identifier = text(data["identifier"]);
  return (
    text(primary?.["email_address"]) ??
    text(data["email_address"]) ??
    text(data["to_email_address"]) ??
    text(data["email"]) ??
    (identifier?.includes("@") ? identifier : null)
  );
}

function first(values: readonly (string | null)[]): string | null {
  return values.find((value) => value !== null) ?? null;
}

export function fields(value: unknown): Fields {
  return typeof value === "object" && value !== null ? (value as Fields) : {};
}

function text(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}
