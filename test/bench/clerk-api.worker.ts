// Runs the stand-in for Clerk's API in its own thread, so that its work does not slow the measured code.

import { startClerkApi } from "../clerk-api.ts";

declare const self: Worker;

self.addEventListener("message", ({ data }: MessageEvent<number>) => void serve(data));

async function serve(count: number) {
  const api = await startClerkApi();
  const [user] = api.fill(count);
  self.postMessage({ url: api.url, secretKey: api.secretKey, user });
}
