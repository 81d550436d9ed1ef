// The servers that share an inbox: which of them are alive, what they load, and which one does the work of a single server.
// With SQLite there is one server.

import { matchesPattern } from "../clerk/pattern.ts";
import type { NewRun } from "../inbox/inbox.ts";
import type { Membership, MembershipEvents } from "./membership.ts";
import { loadedBy, type OtherServer, type ServerAbout, type ServerHandler } from "./servers.ts";

interface ClusterEvents {
  /** Other servers were seen. `isChanged`: one came or went, or loads other handlers. */
  onSeen(isChanged: boolean): void;
  /** Attempts have to stop: other servers may take over their runs soon. */
  onFenced(reason: string): void;
  /** The fence is over. This server has another id if its runs were taken over. */
  onResumed(): void;
}

export interface Cluster {
  /** Whether several servers may share the inbox. */
  readonly isShared: boolean;
  /** The owner of the runs that this server claims. */
  readonly id: string;
  /** Why this server may not run or accept anything now, or undefined. */
  readonly fenced: string | undefined;
  /** Whether a claimed run may start here. The claim may have become durable during a fence, or after this server's death. */
  owns(run: { owner: string }): boolean;
  /** The ids of the living servers, as last seen. A server that has just started may be missing. */
  seen(): ReadonlySet<string>;
  /** The ids after a new read of the rows; undefined while Postgres does not answer. */
  alive(): Promise<ReadonlySet<string> | undefined>;
  /** The other living servers. */
  others(): readonly OtherServer[];
  /** The handlers that some living server loads. */
  loaded(own: ReadonlySet<string>): ReadonlySet<string>;
  /** The runs of an event of this type, of all servers' handlers; a run that no server loads is parked. */
  match(type: string, own: readonly ServerHandler[]): NewRun[];
  /** Only one server stops everything else for a run that has to run exclusively. */
  mayRunExclusively(handler: string, own: ReadonlySet<string>): boolean;
  /** Only one server deletes expired data. */
  isFirst(): boolean;
  listen(events: Partial<ClusterEvents>): void;
  /** Describes this server to the others, with the next beat unless `isUrgent`. */
  publish(about: ServerAbout, isUrgent: boolean): void;
  /** Waits until this server is registered. */
  ready: Promise<void>;
  stop(): Promise<void>;
}

/** The only server of its inbox. */
export function singleServer(): Cluster {
  const id = crypto.randomUUID();
  const alive = new Set([id]);
  return {
    isShared: false,
    id,
    fenced: undefined,
    owns: () => true,
    seen: () => alive,
    alive: async () => alive,
    others: () => [],
    loaded: (own) => own,
    match: (_, own) => own.map((handler) => toRun(handler, handler.loads)),
    mayRunExclusively: () => true,
    isFirst: () => true,
    listen: () => {},
    publish: () => {},
    ready: Promise.resolve(),
    stop: async () => {},
  };
}

/** `open` joins the servers of one Postgres inbox. */
export function joinCluster(open: (events: MembershipEvents) => Membership): Cluster {
  let id = "";
  let others: readonly OtherServer[] = [];
  let fenced: string | undefined = "this server is not registered yet";
  let loadedElsewhere: ReadonlySet<string> = new Set();
  let handlersElsewhere: readonly ServerHandler[] = [];
  const listeners: Partial<ClusterEvents>[] = [];
  const membership = open({ onServers, onFenced });

  function onServers(current: string, seen: readonly OtherServer[], wasFenced: boolean) {
    const isChanged = handlersOf(seen) !== handlersOf(others);
    id = current;
    others = seen;
    handlersElsewhere = uniqueByName(seen.flatMap(({ about }) => about.handlers ?? []));
    loadedElsewhere = loadedBy({ handlers: handlersElsewhere });
    if (wasFenced) {
      fenced = undefined;
      for (const { onResumed } of listeners) onResumed?.();
    }
    for (const { onSeen } of listeners) onSeen?.(isChanged || wasFenced);
  }

  function onFenced(reason: string) {
    fenced = reason;
    for (const listener of listeners) listener.onFenced?.(reason);
  }

  const seen = () => new Set([id, ...others.map((server) => server.id)]);

  return {
    isShared: true,
    get id() {
      return id;
    },
    get fenced() {
      return fenced;
    },
    owns: ({ owner }) => fenced === undefined && owner === id,
    seen,
    alive: async () => ((await membership.look()) ? seen() : undefined),
    others: () => others,
    loaded: (own) => new Set([...own, ...loadedElsewhere]),
    match(type, own) {
      const names = new Set(own.map(({ name }) => name));
      const more = handlersElsewhere.filter(({ name, event }) => !names.has(name) && matchesPattern(event, type));
      return [...own, ...more].map((handler) => toRun(handler, handler.loads || loadedElsewhere.has(handler.name)));
    },
    mayRunExclusively(handler, own) {
      const yields = (other: OtherServer) => other.id > id || !loadedBy(other.about).has(handler);
      return fenced === undefined && own.has(handler) && others.every(yields);
    },
    isFirst: () => others.every((server) => server.id > id),
    listen: (events) => void listeners.push(events),
    publish(about, isUrgent) {
      membership.publish(about);
      if (isUrgent) void membership.look();
    },
    ready: membership.ready,
    stop: () => membership.stop(),
  };
}

function toRun({ name, lane }: ServerHandler, loads: boolean): NewRun {
  return { handler: name, lane, parked: !loads };
}

/** Of handlers with one name, one that loads on some server. */
function uniqueByName(handlers: readonly ServerHandler[]): ServerHandler[] {
  const byName = new Map<string, ServerHandler>();
  for (const handler of handlers) if (!byName.get(handler.name)?.loads) byName.set(handler.name, handler);
  return [...byName.values()];
}

/** The facts that parking and recovery depend on, as text. A server that starts has not described itself yet. */
function handlersOf(servers: readonly OtherServer[]): string {
  return JSON.stringify(servers.flatMap(({ id, about }) => (about.handlers ? [[id, about.handlers]] : [])));
}
