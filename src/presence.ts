// This server among those that share its inbox: how it describes itself to them, and what it learns from them.

import { hostname } from "node:os";

import { version } from "../package.json";
import type { ServerRowJson } from "./api/server-types.ts";
import type { Cluster } from "./cluster/cluster.ts";
import { loadedBy, type OtherServer, type ServerAbout, type ServerHandler } from "./cluster/servers.ts";
import type { Dispatcher } from "./dispatch/dispatcher.ts";
import type { HandlerTable } from "./handlers/loader.ts";
import type { NewRun } from "./inbox/inbox.ts";

export function createPresence(cluster: Cluster, table: () => HandlerTable) {
  const startedAt = Date.now();
  let [changes, changesElsewhere] = [0, 0];
  let dispatcher: Pick<Dispatcher, "running"> | undefined;

  function describe(): ServerAbout {
    const { running } = dispatcher ?? { running: 0 };
    const handlers = describeHandlers(table().handlers);
    return { host: hostname(), pid: process.pid, version, startedAt, handlers, running, changes };
  }

  return {
    /** A delivery was stored, or an attempt has ended. */
    changed: () => void (changes += 1),
    publish: (isUrgent: boolean) => cluster.publish(describe(), isUrgent),
    /** The runs of an event of this type. */
    match: (type: string): NewRun[] => cluster.match(type, describeHandlers(table().match(type))),
    list: () => listServers(cluster, describe()),
    /** From now on, publishes the runs of this dispatcher too. `onOthersChanged`: another server has changed runs. */
    follow(own: Pick<Dispatcher, "running">, onOthersChanged: () => void) {
      dispatcher = own;
      cluster.listen({
        onSeen() {
          cluster.publish(describe(), false);
          const elsewhere = cluster.others().reduce((sum, { about }) => sum + (about.changes ?? 0), 0);
          if (elsewhere !== changesElsewhere) onOthersChanged();
          changesElsewhere = elsewhere;
        },
      });
    },
  };
}

function describeHandlers(handlers: HandlerTable["handlers"]): ServerHandler[] {
  return handlers.map(({ name, lane, event, code }) => ({ name, lane, event, loads: code !== undefined }));
}

/** The servers that share the inbox, this one first; none with SQLite. */
function listServers(cluster: Cluster, own: ServerAbout): ServerRowJson[] {
  if (!cluster.isShared) return [];
  const here = loadedBy(own);
  const row = ({ id, age, about }: OtherServer): ServerRowJson => {
    const loaded = loadedBy(about);
    const { host, pid, version: release, startedAt, running } = about;
    const [more, missing] = [[...loaded.difference(here)], [...here.difference(loaded)]];
    return { id, isThis: about === own, host, pid, version: release, startedAt, running, seenAgo: age, more, missing };
  };
  return [{ id: cluster.id, age: 0, about: own }, ...cluster.others()].map(row);
}
