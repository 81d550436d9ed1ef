// The messages that Clerk sends to users. Both samples carry a one-time code, as nearly all real ones do.

import { person, phoneNumber } from "./people.ts";
import type { Source } from "./source.ts";

export function email(source: Source) {
  const { email } = person(source);
  const code = source.digits(6);
  return {
    object: "email" as const,
    id: source.id("ema"),
    slug: "verification_code",
    from_email_name: "notifications",
    reply_to_email_name: null,
    to_email_address: email,
    email_address_id: source.id("idn"),
    user_id: source.id("user"),
    subject: `${code} is your code for Café Zürich`,
    body: `<p>Your code is <strong>${code}</strong>. It is good for ten minutes.</p>`,
    body_plain: `Your code is ${code}. It is good for ten minutes.`,
    status: "queued",
    data: { app: { name: "Café Zürich", url: "https://accounts.example.com" }, otp_code: code },
    delivered_by_clerk: true,
  };
}

export function sms(source: Source) {
  const code = source.digits(6);
  return {
    object: "sms_message" as const,
    id: source.id("sms"),
    slug: "verification_code",
    from_phone_number: "+12015550123",
    to_phone_number: phoneNumber(source),
    phone_number_id: source.id("idn"),
    user_id: source.id("user"),
    message: `${code} is your code for Café Zürich.`,
    status: "queued",
    data: { app: { name: "Café Zürich" }, otp_code: code },
    delivered_by_clerk: true,
    created_at_ms: source.now,
  };
}
