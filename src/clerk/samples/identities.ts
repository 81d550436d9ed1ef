// The ways in which a user can be identified, each verified: an email address, a Google account, a phone, a wallet.

import { type Person, phoneNumber } from "./people.ts";
import { HOUR, type Source, type Stamps } from "./source.ts";

export function emailIdentity(source: Source, stamps: Stamps, address: string) {
  return {
    object: "email_address",
    id: source.id("idn"),
    email_address: address,
    reserved: false,
    verification: {
      object: "verification_otp",
      status: "verified",
      strategy: "email_code",
      attempts: 1,
      expire_at: stamps.created_at + HOUR / 6,
    },
    linked_to: [] as { type: string; id: string }[],
    matches_sso_connection: false,
    ...stamps,
  };
}

/** A Google account and the email address that it vouches for. */
export function googleIdentity(source: Source, stamps: Stamps, { first_name, last_name, email }: Person) {
  const identification = source.id("idn");
  return {
    email: {
      ...emailIdentity(source, stamps, email),
      verification: {
        object: "verification_from_oauth",
        status: "verified",
        strategy: "from_oauth_google",
        attempts: null,
        expire_at: null,
      },
      linked_to: [{ type: "oauth_google", id: identification }],
    },
    account: {
      object: "external_account",
      id: source.id("eac"),
      provider: "oauth_google",
      identification_id: identification,
      provider_user_id: source.digits(21),
      approved_scopes: "email openid profile",
      email_address: email,
      email_address_verified: true,
      first_name,
      last_name,
      image_url: source.image(),
      username: null,
      phone_number: null,
      public_metadata: {},
      label: null,
      verification: {
        object: "verification_oauth",
        status: "verified",
        strategy: "oauth_google",
        attempts: null,
        expire_at: stamps.created_at + HOUR / 6,
      },
      ...stamps,
    },
  };
}

export function phoneIdentity(source: Source, stamps: Stamps) {
  return {
    object: "phone_number",
    id: source.id("idn"),
    phone_number: phoneNumber(source),
    reserved_for_second_factor: false,
    default_second_factor: false,
    reserved: false,
    verification: {
      object: "verification_otp",
      status: "verified",
      strategy: "phone_code",
      attempts: 1,
      expire_at: stamps.created_at + HOUR / 6,
      channel: "sms",
    },
    linked_to: [],
    backup_codes: null,
    ...stamps,
  };
}

export function walletIdentity(source: Source, stamps: Stamps) {
  return {
    object: "web3_wallet",
    id: source.id("idn"),
    web3_wallet: `0x${source.hex(40)}`,
    verification: {
      object: "verification_web3",
      status: "verified",
      strategy: "web3_metamask_signature",
      nonce: null,
      message: null,
      attempts: 1,
      expire_at: stamps.created_at + HOUR / 6,
    },
    ...stamps,
  };
}
