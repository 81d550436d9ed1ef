// Clerk's stand-in in a thread of its own, so that its work and its memory are not measured with ours.

import { startClerkApi } from "../clerk-api.ts";

declare const self: Worker;

self.addEventListener("message", ({ data }: MessageEvent<number>) => void serve(data));

async function serve(count: number) {
  const api = await startClerkApi();
  const [user] = api.fill(count);
  self.postMessage({ url: api.url, secretKey: api.secretKey, user });
}
