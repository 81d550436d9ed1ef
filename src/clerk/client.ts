// Clerk's own client, for handlers and for the mirror. Loaded when it is wanted: most servers never ask Clerk anything.

import type { ClerkClient } from "@clerk/backend";

interface ClientOptions {
  clerkSecretKey?: string | undefined;
  clerkApiUrl: string;
}

/** Undefined without a secret key. */
export async function createClerk({ clerkSecretKey, clerkApiUrl }: ClientOptions): Promise<ClerkClient | undefined> {
  if (!clerkSecretKey) return undefined;
  const { createClerkClient } = await import("@clerk/backend");
  return createClerkClient({ secretKey: clerkSecretKey, apiUrl: clerkApiUrl });
}
