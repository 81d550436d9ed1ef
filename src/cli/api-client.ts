// The requests of commands to the API, each as a method.

import type { RefusedJson, ServerJson } from "../api/server-types.ts";
import type {
  BulkJobJson,
  BulkRefusal,
  CommonValuesJson,
  DeliveryJson,
  DeliveryList,
  ErasureJson,
  ErrorJson,
  HandlerTrouble,
  LostJson,
  PauseChangedJson,
  PausesJson,
  ProblemsJson,
  ProblemView,
  ReplayCount,
  ReplayedJson,
} from "../api/types.ts";

/** Query parameters of the API. Undefined ones are left out. */
export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

interface Api extends AsyncDisposable {
  ask: (path: string, method: string) => Promise<Response>;
  /** The running server's webhook endpoint, as this machine reaches it; undefined when none runs. */
  webhookUrl?: string | undefined;
  /** No server runs that could execute the runs of this inbox. */
  isOffline: boolean;
}

export type Client = ReturnType<typeof createClient>;

export function createClient({ ask, webhookUrl, isOffline, [Symbol.asyncDispose]: close }: Api) {
  async function askFor<T>(path: string, query: Query = {}, method = "GET"): Promise<T> {
    const given = Object.entries(query).filter(([, value]) => value !== undefined);
    const search = new URLSearchParams(given.map(([name, value]): [string, string] => [name, String(value)]));
    const response = await ask(`/api${path}?${search.toString()}`, method);
    // 404 and 409 are answers about the request; any other error is the server's.
    if (!response.ok && response.status !== 404 && response.status !== 409)
      throw new Error(`it answered ${response.status}, see its log`);
    return (await response.json()) as T;
  }

  const post = <T>(path: string, query: Query = {}) => askFor<T>(path, query, "POST");
  const pathOf = (id: string) => `/deliveries/${encodeURIComponent(id)}`;
  const problemPathOf = (id: string) => `/problems/${encodeURIComponent(id)}`;
  return {
    webhookUrl,
    isOffline,
    async get(id: string, payload?: boolean) {
      const answer = await askFor<DeliveryJson | ErrorJson>(pathOf(id), { payload, reveal: payload });
      return "error" in answer ? undefined : answer;
    },
    list: (query: Query, before: number | null, limit: number) =>
      askFor<DeliveryList>("/deliveries", { ...query, before: before ?? undefined, limit }),
    /** `dead`: only the handlers whose latest run is dead. */
    replay: (id: string, options: { handler?: string | undefined; dead?: boolean }) =>
      post<ReplayedJson | ErrorJson>(`${pathOf(id)}/replay`, options),
    countReplay: (query: Query) => askFor<ReplayCount | HandlerTrouble>("/replays", query),
    /** Starts a bulk replay of about `expected` runs, which the server runs. `rate` is in runs per second. */
    startBulk: (query: Query, expected: number, rate: number | undefined) =>
      post<BulkJobJson | HandlerTrouble | BulkRefusal>("/bulk", { ...query, expected, rate }),
    /** Null after a restart of the server. */
    bulkJob: async (job: string) => (await askFor<{ job: BulkJobJson | null }>("/bulk", { job })).job,
    /** The server adds no further runs. */
    stopBulk: (job: string) => post<unknown>("/bulk/stop", { job }),
    lost: () => askFor<LostJson>("/lost"),
    pauses: () => askFor<PausesJson>("/pauses"),
    pause: (handler: string, reason: string | undefined) =>
      post<PauseChangedJson | HandlerTrouble>("/pause", { handler, reason }),
    resume: (handler: string) => post<PauseChangedJson>("/resume", { handler }),
    /** Begins to erase a user. `now`: gives up unfinished runs. */
    erase: (user: string, now: boolean) => post<ErasureJson>("/erasures", { user, now }),
    erasure: (user: string) => askFor<ErasureJson>("/erasures", { user }),
    /** The state of a running server; undefined without one. */
    async live() {
      const server = await askFor<Partial<ServerJson>>("/server");
      // A command that opened the inbox itself answers with its pid only.
      return server.webhookUrl === undefined
        ? undefined
        : { server: server as ServerJson, refused: await askFor<RefusedJson>("/refused") };
    },
    problems: (state: string, limit: number) => askFor<ProblemsJson>("/problems", { state, limit }),
    problem: (id: string) => askFor<ProblemView | ErrorJson>(problemPathOf(id)),
    commonValues: (id: string) => askFor<CommonValuesJson | ErrorJson>(`${problemPathOf(id)}/common`),
    muteProblem: (id: string, muted: boolean) =>
      post<{ muted: boolean } | ErrorJson>(`${problemPathOf(id)}/mute`, { muted }),
    [Symbol.asyncDispose]: close,
  };
}
