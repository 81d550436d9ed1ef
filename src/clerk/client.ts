// Creates Clerk's own API client for handlers and the mirror. It is imported on first use, because most servers never
// call Clerk's API and would pay for loading the SDK.

import type { ClerkClient } from "@clerk/backend";

interface ClientOptions {
  clerkSecretKey?: string | undefined;
  clerkApiUrl: string;
}

/** Returns undefined when no secret key is set. */
export async function createClerk({ clerkSecretKey, clerkApiUrl }: ClientOptions): Promise<ClerkClient | undefined> {
  if (!clerkSecretKey) return undefined;
  const { createClerkClient } = await import("@clerk/backend");
  return createClerkClient({ secretKey: clerkSecretKey, apiUrl: clerkApiUrl });
}
