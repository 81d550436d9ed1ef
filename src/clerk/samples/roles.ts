// Roles in organizations, and the permissions that they grant.

import type { Source, Stamps } from "./source.ts";

const ROLES = [
  { key: "org:bookkeeper", name: "Bookkeeper", description: "Sees invoices and pays them" },
  { key: "org:editor", name: "Éditeur", description: null },
];

const PERMISSIONS = [
  { key: "org:invoices:read", name: "Read invoices", description: "See what was billed, and when" },
  { key: "org:invoices:pay", name: "Pay invoices", description: "Pay by the organization’s card" },
  { key: "org:menu:edit", name: "Edit the menu", description: "Change dishes, prices & allergens" },
];

export function role(source: Source, stamps: Stamps) {
  return {
    object: "role" as const,
    id: source.id("role"),
    ...source.pick(ROLES),
    is_creator_eligible: false,
    permissions: [permission(source, stamps)],
    ...stamps,
  };
}

export function permission(source: Source, stamps: Stamps) {
  return {
    object: "permission" as const,
    id: source.id("perm"),
    ...source.pick(PERMISSIONS),
    type: "user",
    ...stamps,
  };
}
