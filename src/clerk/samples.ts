// Makes an event of any type as Clerk would send it: for `bun send`, for tests, and for trying out a handler.
// Every sample fits Clerk's specification and its own type, and no two are alike. With a seeded `random` and a
// fixed `now` the same sample comes again.

import { type ClerkEvent, type ClerkEvents, type KnownEventName, type ReceivedEvent } from "./events.ts";
import * as billing from "./samples/billing.ts";
import { type DeepPartial, mergeDeep } from "./samples/merge.ts";
import * as messages from "./samples/messages.ts";
import * as organizations from "./samples/organizations.ts";
import * as roles from "./samples/roles.ts";
import { createSource, type Source } from "./samples/source.ts";
import * as users from "./samples/users.ts";

export interface SampleOptions<Name extends KnownEventName = KnownEventName> {
  /** When the event happens, in milliseconds. Default: now. */
  now?: number;
  /** Where chance comes from, from 0 up to 1 as in `Math.random`, the default. */
  random?: () => number;
  /** Laid over the sample: objects are merged, everything else replaces what was there. */
  overrides?: DeepPartial<ClerkEvent<Name>>;
}

/**
 * A realistic event.
 *
 *     sample("user.created", { overrides: { data: { first_name: "Zoë" } } });
 */
export function sample<Name extends KnownEventName>(
  name: Name,
  { now = Date.now(), random = Math.random, overrides }: SampleOptions<Name> = {},
): ClerkEvent<Name> & ReceivedEvent {
  const source = createSource(Math.floor(now), random);
  const event = {
    type: name,
    object: "event",
    data: payloads[name](source),
    timestamp: source.now,
    instance_id: source.id("ins"),
    event_attributes: { http_request: { client_ip: source.address(), user_agent: source.browser().agent } },
  };
  return mergeDeep(event, overrides ?? {}) as ClerkEvent<Name> & ReceivedEvent;
}

const payloads: { [Name in KnownEventName]: (source: Source) => ClerkEvents[Name] } = {
  "email.created": messages.email,
  "organization.created": (source) => organizations.organization(source, source.createdNow()),
  "organization.deleted": organizations.deletedOrganization,
  "organization.updated": (source) => organizations.organization(source, source.updatedNow()),
  "organizationDomain.created": (source) => organizations.domain(source, source.createdNow()),
  "organizationDomain.deleted": (source) => source.deleted("organization_domain", "orgdmn"),
  "organizationDomain.updated": (source) => organizations.domain(source, source.updatedNow()),
  "organizationInvitation.accepted": organizations.acceptedInvitation,
  "organizationInvitation.created": (source) => organizations.invitation(source, source.createdNow(), "pending"),
  "organizationInvitation.revoked": (source) => organizations.invitation(source, source.updatedNow(), "revoked"),
  "organizationMembership.created": (source) => organizations.membership(source, source.createdNow()),
  "organizationMembership.deleted": (source) => organizations.membership(source, source.updatedNow()),
  "organizationMembership.updated": (source) => organizations.membership(source, source.updatedNow()),
  "paymentAttempt.created": (source) => billing.paymentAttempt(source, source.createdNow(), "pending"),
  "paymentAttempt.updated": (source) =>
    billing.paymentAttempt(source, source.updatedNow(), source.pick(["paid", "paid", "failed"])),
  "permission.created": (source) => roles.permission(source, source.createdNow()),
  "permission.deleted": (source) => source.deleted("permission", "perm"),
  "permission.updated": (source) => roles.permission(source, source.updatedNow()),
  "role.created": (source) => roles.role(source, source.createdNow()),
  "role.deleted": (source) => source.deleted("role", "role"),
  "role.updated": (source) => roles.role(source, source.updatedNow()),
  "session.created": (source) => users.session(source, source.createdNow(), "active"),
  "session.ended": (source) => users.session(source, source.updatedNow(), "ended"),
  "session.pending": (source) => users.session(source, source.createdNow(), "pending"),
  "session.removed": (source) => users.session(source, source.updatedNow(), "removed"),
  "session.revoked": (source) => users.session(source, source.updatedNow(), "revoked"),
  "sms.created": messages.sms,
  "subscription.active": (source) => billing.subscription(source, source.updatedNow(), "active"),
  "subscription.created": (source) => billing.subscription(source, source.createdNow(), "active"),
  "subscription.pastDue": (source) => billing.subscription(source, source.updatedNow(), "past_due"),
  "subscription.updated": (source) => billing.subscription(source, source.updatedNow(), "active"),
  "subscriptionItem.abandoned": (source) => billing.subscriptionItem(source, source.updatedNow(), "abandoned"),
  "subscriptionItem.active": (source) => billing.subscriptionItem(source, source.updatedNow(), "active"),
  "subscriptionItem.canceled": (source) => billing.subscriptionItem(source, source.updatedNow(), "canceled"),
  "subscriptionItem.created": (source) => billing.subscriptionItem(source, source.createdNow(), "upcoming"),
  "subscriptionItem.ended": (source) => billing.subscriptionItem(source, source.updatedNow(), "ended"),
  "subscriptionItem.freeTrialEnding": billing.endingFreeTrial,
  "subscriptionItem.incomplete": (source) => billing.subscriptionItem(source, source.updatedNow(), "incomplete"),
  "subscriptionItem.pastDue": (source) => billing.subscriptionItem(source, source.updatedNow(), "past_due"),
  "subscriptionItem.upcoming": (source) => billing.subscriptionItem(source, source.updatedNow(), "upcoming"),
  "subscriptionItem.updated": (source) => billing.subscriptionItem(source, source.updatedNow(), "active"),
  "user.created": (source) => users.user(source, source.createdNow()),
  "user.deleted": users.deletedUser,
  "user.updated": (source) => users.user(source, source.updatedNow()),
  "waitlistEntry.created": (source) => users.waitlistEntry(source, source.createdNow()),
  "waitlistEntry.updated": (source) => users.waitlistEntry(source, source.updatedNow()),
};
