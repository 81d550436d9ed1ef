// The servers that share an inbox, as each sees the others: it learns of a start, a change or a death after a while.
// Never calls a living server dead.

import { type Cluster, joinCluster } from "../../src/cluster/cluster.ts";
import type { MembershipEvents } from "../../src/cluster/membership.ts";
import type { ServerAbout, ServerHandler } from "../../src/cluster/servers.ts";
import type { HandlerTable } from "../../src/handlers/loader.ts";
import type { Faults } from "./faults.ts";
import { LATEST_COMMIT_MS } from "./shared-store.ts";
import type { Life, World } from "./world.ts";

interface Member {
  life: Life;
  about: ServerAbout;
  events: MembershipEvents;
  wasFenced: boolean;
}

const BEAT_MS = 1_500;
const TAKEOVER_MS = 6_000;

export function handlersOf(table: Pick<HandlerTable, "handlers">): ServerHandler[] {
  return table.handlers.map(({ name, lane, event, code }) => ({ name, lane, event, loads: code !== undefined }));
}

export class Members {
  readonly #rows = new Map<string, Member>();

  constructor(
    private readonly world: World,
    private readonly faults: Faults,
  ) {}

  /** Registers the current process as the owner of runs. */
  join(owner: string, handlers: readonly ServerHandler[]): Cluster {
    const life = this.world.life()!;
    return joinCluster((events) => {
      const member: Member = { life, about: aboutOf(handlers), events, wasFenced: true };
      const ready = this.world.sleep(1).then(() => {
        this.#rows.set(owner, member);
        this.#notify(owner);
        this.#notifyAll();
      });
      const leave = () => {
        this.#rows.delete(owner);
        this.#notifyAll();
      };
      life.onDeath.push(() => {
        this.world.after(this.world.between(500, TAKEOVER_MS), leave);
        // A commit of the dead server may have become durable meanwhile.
        this.world.after(TAKEOVER_MS + LATEST_COMMIT_MS, () => this.#notifyAll());
      });
      return {
        ready,
        publish: (about) => {
          member.about = about;
          this.#notifyAll();
        },
        look: async () => {
          await this.world.sleep(1);
          if (this.world.chance(this.faults.fail)) return false;
          this.#notify(owner);
          return true;
        },
        stop: async () => leave(),
      };
    });
  }

  #notifyAll() {
    for (const owner of this.#rows.keys()) this.world.after(this.world.between(0, BEAT_MS), () => this.#notify(owner));
  }

  #notify(owner: string) {
    const member = this.#rows.get(owner);
    if (!member?.life.alive) return;
    const others = [...this.#rows].filter(([id]) => id !== owner).map(([id, { about }]) => ({ id, age: 0, about }));
    member.life.enter(() => member.events.onServers(owner, others, member.wasFenced));
    member.wasFenced = false;
  }
}

export function aboutOf(handlers: readonly ServerHandler[]): ServerAbout {
  return { host: "", pid: 0, version: "", startedAt: 0, handlers, running: 0, changes: 0 };
}
