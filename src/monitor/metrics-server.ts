// METRICS_PORT: serves /metrics and nothing else, without a token, for networks that only Prometheus can reach.

import { listenError } from "../address.ts";
import type { Scrape } from "./prometheus.ts";

export interface MetricsServer {
  port: number;
  stop(): Promise<void>;
}

const SETTINGS = { port: ["METRICS_PORT", 9464], host: "HOST=0.0.0.0" } as const;

/** Undefined when METRICS_PORT is not set. Throws a `UserError` with a remedy when it can't listen. */
export function startMetricsServer(
  { host, metricsPort: port }: { host: string; metricsPort: number | undefined },
  scrape: () => Promise<Scrape>,
  onError: (error: unknown) => void,
): MetricsServer | undefined {
  if (port === undefined) return undefined;
  async function answer(request: Request): Promise<Response> {
    if (URL.parse(request.url)?.pathname !== "/metrics") return new Response(null, { status: 404 });
    if (request.method !== "GET" && request.method !== "HEAD")
      return new Response(null, { status: 405, headers: { allow: "GET" } });
    try {
      return await answerScrape(scrape);
    } catch (error) {
      onError(error);
      return new Response(null, { status: 500 });
    }
  }

  try {
    // Two servers on one port would each answer half of the scrapes.
    const server = Bun.serve({ hostname: host, port, reusePort: false, development: false, fetch: answer });
    return { port: server.port ?? port, stop: () => server.stop(true) };
  } catch (error) {
    throw listenError(error, { host, port, settings: SETTINGS });
  }
}

export async function answerScrape(scrape: () => Promise<Scrape>): Promise<Response> {
  const { contentType, text } = await scrape();
  return new Response(text, { headers: { "content-type": contentType, "cache-control": "no-store" } });
}
