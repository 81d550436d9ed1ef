// A model of Postgres as its client sees it: rows, locks and lost connections. A connection can be lost during a COMMIT,
// which may take effect seconds later. Supports only the statements of the ledger and of the simulated handlers.

import type { SQL } from "bun";

import { crash, type Faults } from "./faults.ts";
import { Dead, type Life, type World } from "./world.ts";

export interface EffectRow {
  delivery: string;
  handler: string;
  replay: string;
  attempt: number;
  part: number;
}

interface Transaction {
  open: boolean;
  /** Its COMMIT was sent: it takes effect even if the client dies. */
  commitSent: boolean;
  /** Its `application_name`. */
  name?: string;
  /** A later attempt has ended it. */
  terminated?: boolean;
  /** The state of the ledger row that it has locked. */
  claimed?: string;
  writes: (() => void)[];
  locks: Set<string>;
}

type Values = readonly unknown[];

class ConnectionError extends Error {
  code = "ERR_POSTGRES_CONNECTION_CLOSED";
}

export class ModelledPostgres {
  readonly effects: EffectRow[] = [];
  /** The column `state`, by run. */
  readonly ledger = new Map<string, string>();
  /** Whether all connections are refused. */
  unreachable = false;
  #locks = new Map<string, Transaction>();
  readonly #open = new Set<Transaction>();

  constructor(
    private readonly world: World,
    private readonly faults: Faults,
    private readonly onFailure: () => void,
  ) {}

  /** The client of the current process, for the option `open` of `openEffects`. */
  connect(): SQL {
    const life = this.world.life()!;
    const client = (strings: TemplateStringsArray, ...values: Values) => this.#autocommit(life, strings, values);
    const begin = (body: (tx: SQL) => Promise<unknown>) => this.#begin(life, body);
    return Object.assign(client, {
      options: { adapter: "postgres" },
      begin,
      reserve: async () => this.#reserve(life),
      unsafe: async () => [],
      close: async () => {},
    }) as unknown as SQL;
  }

  #requireConnection(life: Life) {
    if (!life.alive) throw new Dead("the process is dead");
    if (this.unreachable) throw new ConnectionError("connection refused");
  }

  /** A statement outside of a transaction commits by itself. */
  async #autocommit(life: Life, strings: TemplateStringsArray, values: Values): Promise<unknown> {
    this.#requireConnection(life);
    const tx: Transaction = { open: true, commitSent: false, writes: [], locks: new Set() };
    const result = await this.#statement(tx, strings.join("?"), values);
    this.#commit(tx);
    if (this.world.chance(this.faults.fail)) throw new ConnectionError("Connection closed");
    return life.alive ? result : new Promise(() => {});
  }

  async #begin(life: Life, body: (tx: SQL) => Promise<unknown>): Promise<unknown> {
    const connection = this.#reserve(life);
    const client = connection as unknown as SQL;
    await client`BEGIN`;
    let result: unknown;
    try {
      result = await Promise.race([body(client), life.dead]);
    } catch (error) {
      await client`ROLLBACK`;
      throw error;
    }
    await client`COMMIT`;
    return result;
  }

  /** A connection, which runs what it is sent in that order. */
  #reserve(life: Life) {
    this.#requireConnection(life);
    let tx: Transaction | undefined;
    let isLost = false;
    /** A statement has failed, so the transaction can only be rolled back. */
    let isAborted = false;
    const run = async (text: string, values: Values): Promise<unknown[]> => {
      if (!life.alive) return new Promise(() => {});
      if (isLost) throw new ConnectionError("Connection closed");
      if (text === "BEGIN") {
        const own: Transaction = (tx = { open: true, commitSent: false, writes: [], locks: new Set() });
        isAborted = false;
        this.#open.add(own);
        // Postgres notices a dead client after a while, and keeps its locks until then.
        life.onDeath.push(() => this.world.after(this.world.between(0, 2_000), () => this.#rollback(own)));
        return [];
      }
      const own = tx!;
      isLost ||= own.terminated === true;
      if (isLost) throw new ConnectionError("Connection closed");
      if (text === "ROLLBACK" || (text === "COMMIT" && isAborted)) {
        this.#rollback(own);
        return [];
      }
      if (text === "COMMIT") {
        isLost = true;
        await this.#end(life, own);
        isLost = false;
        return [];
      }
      if (isAborted) throw new Error("current transaction is aborted");
      if (this.world.chance(this.faults.crash)) crash(this.world, life, "at a query");
      if (this.world.chance(this.faults.fail)) {
        this.world.log("the connection is lost at a query");
        this.onFailure();
        this.world.after(this.world.between(0, 2_000), () => this.#rollback(own));
        isLost = true;
        throw new ConnectionError("Connection closed");
      }
      isAborted = true;
      const rows = await this.#statement(own, text, values);
      isAborted = false;
      return rows;
    };
    let latest: Promise<unknown> = Promise.resolve();
    const query = (strings: TemplateStringsArray, ...values: Values) => {
      const result = latest.then(() => run(strings.join("?"), values));
      latest = result.catch(() => undefined);
      return Object.assign(result, { execute: () => result });
    };
    // No other client creates tables here, so the advisory lock is always free.
    const unsafe = async (text: string) => (text.includes("advisory_xact_lock") ? [{ locked: true }] : []);
    const begin = (body: (tx: SQL) => Promise<unknown>) => this.#begin(life, body);
    const close = async () => {
      isLost = true;
      if (tx) this.world.after(this.world.between(0, 2_000), () => this.#rollback(tx!));
    };
    return Object.assign(query, { begin, unsafe, release() {}, close });
  }

  /** Sends the COMMIT. After a fault it is lost, takes effect without an answer, or takes effect late. */
  async #end(life: Life, tx: Transaction): Promise<undefined> {
    const { world, faults } = this;
    const dies = world.chance(faults.crash);
    if (!dies && !world.chance(faults.fail)) {
      this.#commit(tx);
      return undefined;
    }
    const fate = world.pick(["lost", "answer lost", "late"] as const);
    world.log(`a COMMIT: ${fate}`);
    if (fate === "lost") this.#rollback(tx);
    if (fate === "answer lost") this.#commit(tx);
    if (fate === "late") {
      tx.commitSent = true;
      world.after(world.between(1, 4_000), () => this.#commit(tx));
    }
    if (dies) crash(world, life, "in a COMMIT");
    this.onFailure();
    throw new ConnectionError("Connection closed");
  }

  async #statement(tx: Transaction, text: string, values: Values): Promise<unknown[]> {
    if (text.includes("'open'")) return this.#claim(tx, values);
    if (text.includes("insert into bellhop_ledger")) return this.#declareVoid(tx, values);
    if (text.includes("update bellhop_ledger")) return this.#markCommitted(tx, values);
    if (text.includes("delete from bellhop_ledger")) {
      tx.writes.push(() => this.ledger.delete(keyOf(values)));
      return [];
    }
    if (text.includes("insert into effects")) {
      const [delivery, handler, replay, attempt, part] = values as [string, string, string, number, number];
      tx.writes.push(() => this.effects.push({ delivery, handler, replay, attempt, part }));
      return [];
    }
    const name = values.find((value) => String(value).startsWith("bellhop "));
    if (text.includes("set_config('application_name'")) tx.name = String(name);
    if (text.includes("pg_terminate_backend")) this.#terminate(tx, String(name), Number(values.at(-1)));
    if (text.includes("nowhere")) throw new Error("there is no table nowhere");
    return [];
  }

  async #claim(tx: Transaction, values: Values) {
    const key = keyOf(values);
    await this.#lock(tx, key);
    const pattern = values[4] as string;
    const row = this.ledger.get(key) ?? "open";
    if (row === "committed") return [{ state: row }];
    const state = (row.includes(pattern.replaceAll("%", "")) ? "void" : "open") + row.slice(4);
    tx.claimed = state;
    tx.writes.push(() => this.ledger.set(key, state));
    return [{ state }];
  }

  async #markCommitted(tx: Transaction, values: Values) {
    if (!tx.claimed?.startsWith("open")) throw Object.assign(new Error("division by zero"), { errno: "22012" });
    tx.writes.push(() => this.ledger.set(keyOf(values), "committed"));
    return [];
  }

  async #declareVoid(tx: Transaction, values: Values) {
    const key = keyOf(values);
    await this.#lock(tx, key);
    const row = this.ledger.get(key) ?? "void";
    const state = row === "committed" ? row : `void${row.slice(4)}${values[5] as string}`;
    tx.writes.push(() => this.ledger.set(key, state));
    return [{ state }];
  }

  /** Ends the transactions of a run, up to this attempt, unless they are being committed. */
  #terminate(own: Transaction, run: string, attempt: number) {
    for (const tx of this.#open) {
      if (tx === own || tx.commitSent || !tx.name?.startsWith(run) || Number(tx.name.slice(run.length)) > attempt)
        continue;
      tx.terminated = true;
      this.#rollback(tx);
    }
  }

  async #lock(tx: Transaction, key: string) {
    while (this.#locks.has(key) && this.#locks.get(key) !== tx) await this.world.sleep(5);
    // It was rolled back while it waited.
    if (!tx.open) throw new ConnectionError("Connection closed");
    this.#locks.set(key, tx);
    tx.locks.add(key);
  }

  #commit(tx: Transaction) {
    if (!tx.open) return;
    for (const write of tx.writes) write();
    this.#release(tx);
  }

  #rollback(tx: Transaction) {
    if (tx.open && !tx.commitSent) this.#release(tx);
  }

  #release(tx: Transaction) {
    tx.open = false;
    this.#open.delete(tx);
    for (const key of tx.locks) if (this.#locks.get(key) === tx) this.#locks.delete(key);
  }
}

function keyOf([delivery, handler, replay]: Values): string {
  return [delivery, handler, replay].join(" ");
}
