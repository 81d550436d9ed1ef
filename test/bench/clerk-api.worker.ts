// Clerk's stand-in in a thread of its own, so that its work and its memory are not measured with ours.

import { startClerkApi } from "../clerk-api.ts";

declare const self: Worker;

self.onmessage = async ({ data: count }: MessageEvent<number>) => {
  const { url, secretKey, fill } = await startClerkApi();
  const [user] = fill(count);
  self.postMessage({ url, secretKey, user });
};
