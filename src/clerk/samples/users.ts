// Users, and what belongs to one: sessions and places on the waiting list.
// Most users have an email address; some have a phone or a wallet only, which is what breaks a handler that
// takes `email_addresses[0]` for granted.

import type { UserJSON } from "@clerk/backend";

import { emailIdentity, googleIdentity, phoneIdentity, walletIdentity } from "./identities.ts";
import { person } from "./people.ts";
import { DAY, HOUR, type Source, type Stamps } from "./source.ts";

const LOCALES = ["nl-NL", "pl-PL", "vi-VN", "ja-JP", "es-MX", "tr-TR", "en-GB"];

/** A user who signs in by email address (six in ten), with Google, by phone only or by wallet only. */
export function user(source: Source, stamps: Stamps): UserJSON {
  const way = source.pick([
    "email",
    "email",
    "email",
    "email",
    "email",
    "email",
    "google",
    "google",
    "phone",
    "wallet",
  ]);
  const someone = person(source);
  const named = way !== "wallet";
  const google = way === "google" ? googleIdentity(source, stamps, someone) : undefined;
  const email = google?.email ?? (way === "email" ? emailIdentity(source, stamps, someone.email) : undefined);
  const phone = way === "phone" || (email && source.chance(0.2)) ? phoneIdentity(source, stamps) : undefined;
  const wallet = way === "wallet" ? walletIdentity(source, stamps) : undefined;

  const made = {
    object: "user",
    id: source.id("user"),
    external_id: null,
    primary_email_address_id: email?.id ?? null,
    primary_phone_number_id: phone?.id ?? null,
    primary_web3_wallet_id: wallet?.id ?? null,
    username: null,
    first_name: named ? someone.first_name : null,
    last_name: named ? someone.last_name : null,
    locale: source.chance(0.5) ? source.pick(LOCALES) : null,
    timezone: null,
    profile_image_url: source.image(),
    image_url: source.image(),
    has_image: google !== undefined,
    public_metadata: {},
    private_metadata: {},
    unsafe_metadata: {},
    email_addresses: email ? [email] : [],
    phone_numbers: phone ? [phone] : [],
    web3_wallets: wallet ? [wallet] : [],
    passkeys: [],
    password_enabled: way === "email",
    password_last_updated_at: way === "email" ? stamps.created_at : null,
    two_factor_enabled: false,
    totp_enabled: false,
    backup_code_enabled: false,
    mfa_enabled_at: null,
    mfa_disabled_at: null,
    external_accounts: google ? [google.account] : [],
    saml_accounts: [],
    enterprise_accounts: [],
    last_sign_in_at: stamps.updated_at,
    banned: false,
    locked: false,
    deprovisioned: false,
    lockout_expires_in_seconds: null,
    verification_attempts_remaining: 100,
    delete_self_enabled: true,
    create_organization_enabled: true,
    create_organizations_limit: null,
    // Clerk keeps the day, not the moment.
    last_active_at: Math.floor(stamps.updated_at / DAY) * DAY,
    legal_accepted_at: source.chance(0.5) ? stamps.created_at : null,
    ...stamps,
  };
  // The SDK's type has an id in every verification and always lists memberships; deliveries have neither.
  return made as unknown as UserJSON;
}

export function deletedUser(source: Source) {
  return source.deleted("user", "user");
}

type SessionStatus = "active" | "ended" | "pending" | "removed" | "revoked";

export function session(source: Source, stamps: Stamps, status: SessionStatus) {
  const owner = user(source, stamps);
  const browser = source.browser();
  return {
    object: "session" as const,
    id: source.id("sess"),
    user_id: owner.id,
    user: owner,
    client_id: source.id("client"),
    actor: null,
    status,
    last_active_at: stamps.updated_at,
    ...(status === "pending"
      ? {}
      : {
          latest_activity: {
            // The SDK's list of object types lacks this one.
            object: "session_activity" as never,
            id: source.id("sess_activity"),
            device_type: browser.device,
            is_mobile: browser.mobile,
            browser_name: browser.name,
            browser_version: browser.version,
            ip_address: source.address(),
            ...source.pick([
              { city: "Kraków", country: "PL" },
              { city: "São Paulo", country: "BR" },
              { city: "東京", country: "JP" },
            ]),
          },
        }),
    expire_at: stamps.created_at + 7 * DAY,
    abandon_at: stamps.created_at + 30 * DAY,
    ...stamps,
  };
}

/** A place on the waiting list; once it has changed, its owner is invited. */
export function waitlistEntry(source: Source, stamps: Stamps) {
  const { email } = person(source);
  const invited = stamps.updated_at > stamps.created_at;
  return {
    object: "waitlist_entry" as const,
    id: source.id("wle"),
    email_address: email,
    status: invited ? ("invited" as const) : ("pending" as const),
    is_locked: false,
    invitation: invited
      ? {
          object: "invitation" as const,
          id: source.id("inv"),
          email_address: email,
          public_metadata: {},
          revoked: false,
          status: "pending" as const,
          url: `https://accounts.example.com/invite?ticket=${source.base62(24)}`,
          expires_at: stamps.updated_at + 30 * DAY + HOUR,
          created_at: stamps.updated_at,
          updated_at: stamps.updated_at,
        }
      : null,
    ...stamps,
  };
}
