// Organizations, and what belongs to one: memberships, invitations and domains.

import { person } from "./people.ts";
import { DAY, type Source, type Stamps } from "./source.ts";

const ORGANIZATIONS = [
  { name: "Café Zürich", slug: "cafe-zurich" },
  { name: "Øresund Logistik", slug: "oresund-logistik" },
  { name: "株式会社さくら", slug: "sakura" },
  { name: "Smith & Søn, Ltd.", slug: "smith-son" },
];

const ROLES = [
  { role: "org:admin", role_name: "Admin", permissions: ["org:sys_memberships:manage", "org:sys_profile:manage"] },
  { role: "org:member", role_name: "Member", permissions: ["org:sys_memberships:read"] },
] as const;

export function organization(source: Source, stamps: Stamps) {
  return {
    object: "organization" as const,
    ...profile(source),
    members_count: 1,
    missing_member_with_elevated_permissions: false,
    pending_invitations_count: 0,
    max_allowed_memberships: 5,
    admin_delete_enabled: true,
    public_metadata: {},
    private_metadata: {},
    created_by: source.id("user"),
    ...stamps,
  };
}

export function deletedOrganization(source: Source) {
  return { ...source.deleted("organization", "org"), slug: profile(source).slug };
}

export function membership(source: Source, stamps: Stamps) {
  const { first_name, last_name, email } = person(source);
  const { permissions, ...role } = source.pick(ROLES);
  return {
    object: "organization_membership" as const,
    id: source.id("orgmem"),
    ...role,
    permissions: [...permissions],
    public_metadata: {},
    private_metadata: {},
    organization: organization(source, stamps),
    public_user_data: {
      user_id: source.id("user"),
      first_name,
      last_name,
      profile_image_url: source.image(),
      image_url: source.image(),
      has_image: false,
      identifier: email,
      username: null,
    },
    ...stamps,
  };
}

export function invitation<const Status extends "pending" | "accepted" | "revoked">(
  source: Source,
  stamps: Stamps,
  status: Status,
) {
  const organization = profile(source);
  const inviter = person(source);
  const inviterId = source.id("user");
  const { role, role_name } = source.pick(ROLES);
  return {
    object: "organization_invitation" as const,
    id: source.id("orginv"),
    email_address: person(source).email,
    role,
    role_name,
    organization_id: organization.id,
    public_organization_data: { object: "organization" as const, ...organization },
    inviter_id: inviterId,
    public_inviter_data: {
      user_id: inviterId,
      first_name: inviter.first_name,
      last_name: inviter.last_name,
      image_url: source.image(),
      has_image: false,
      identifier: inviter.email,
    },
    status,
    public_metadata: {},
    private_metadata: {},
    // Only an open invitation can still be followed.
    url: status === "pending" ? `https://accounts.example.com/join?ticket=${source.base62(24)}` : null,
    expires_at: stamps.created_at + 30 * DAY,
    ...stamps,
  };
}

export function acceptedInvitation(source: Source) {
  return { ...invitation(source, source.updatedNow(), "accepted"), user_id: source.id("user") };
}

/** A domain whose members may join. A new one is not verified yet. */
export function domain(source: Source, stamps: Stamps) {
  const { id, slug, ...others } = profile(source);
  const verified = stamps.updated_at > stamps.created_at;
  const verification = {
    status: verified ? "verified" : "unverified",
    strategy: "email_code",
    attempts: verified ? 1 : 0,
    expire_at: stamps.created_at + DAY,
    verified_at: verified ? stamps.updated_at : null,
  };
  return {
    object: "organization_domain" as const,
    id: source.id("orgdmn"),
    organization_id: id,
    name: `${slug}.example`,
    enrollment_mode: source.pick(["manual_invitation", "automatic_invitation", "automatic_suggestion"]),
    affiliation_email_address: `office@${slug}.example`,
    affiliation_verification: verification,
    ownership_verification: null,
    verification,
    total_pending_invitations: 0,
    total_pending_suggestions: 0,
    public_organization_data: { id, slug, ...others },
    ...stamps,
  };
}

function profile(source: Source) {
  const { name, slug } = source.pick(ORGANIZATIONS);
  return {
    id: source.id("org"),
    name,
    // Slugs are unique at Clerk, and so in the tables of those who copy them.
    slug: `${slug}-${source.digits(5)}`,
    image_url: source.image(),
    has_image: source.chance(0.5),
  };
}
