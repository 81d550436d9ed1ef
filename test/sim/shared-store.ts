// The store that several servers share, on the model of a database with several writers. Injects lost connections, lost and
// late COMMITs and crashes, and wakes servers for each other's work.

import type { Statement, Store, Transaction } from "../../src/store/store.ts";
import { crash, type Faults, STATEMENTS_PER_TRANSACTION } from "./faults.ts";
import { type Input, type Session, SharedDatabase, StatementError } from "./shared-database.ts";
import type { RowName } from "./shared-rows.ts";
import { Dead, type Life, type World } from "./world.ts";

const LATE_COMMIT_MS = 4_000;
/** When a server gives up a connection that does not answer. The inbox treats errors before a second as answers. */
const DEADLINE_MS = 3_000;
/** A COMMIT takes effect so long after its server has died, at the latest. */
export const LATEST_COMMIT_MS = LATE_COMMIT_MS + DEADLINE_MS;
/** How long the database keeps the locks of a dead client. */
const DEAD_CLIENT_MS = 2_000;
/** The interval in which a server polls for work that was not announced. */
const POLL_MS = 1_000;
const DEADLOCK_TRIES = 5;

class ConnectionError extends Error {
  code = "ERR_POSTGRES_CONNECTION_CLOSED";
}

/** The database answers that it can't write, and rolls the transaction back. */
class FlushError extends Error {
  code = "53100";
}

export class SharedStore {
  readonly #database: SharedDatabase;
  readonly #wakes = new Map<Life, () => void>();

  /** `onCommit` is called after each commit that changed something. */
  constructor(
    private readonly world: World,
    private readonly faults: Faults,
    private readonly onCommit: () => void,
  ) {
    this.#database = new SharedDatabase(world, (life) => this.#mayFail(life));
  }

  /** The committed rows, for tests that read without the inbox. */
  get database() {
    return this.#database.committed;
  }

  /** Opens the store for the current process. */
  open(): Store {
    const life = this.world.life()!;
    const sessions = new Set<Session>();
    life.onDeath.push(() => {
      for (const session of sessions) this.#rollBackLater(session);
      this.#wakes.delete(life);
    });
    return {
      read: { all: (statement, input) => this.#read(life, statement, input) },
      transaction: (body) => this.#transaction(life, sessions, body),
      writers: 2,
      maxBatch: 128,
      lateCommitMs: LATEST_COMMIT_MS + DEAD_CLIENT_MS,
      isUnavailable: (error) => error instanceof ConnectionError || error instanceof FlushError,
      announce: () => this.#announce(life),
      onAnnounced: (wake) => void this.#wakes.set(life, wake),
      scrub: async () => true,
      close: async () => void this.#wakes.delete(life),
    };
  }

  async #read<Row>(life: Life, statement: Statement<any>, input: Input): Promise<Row[]> {
    await this.#database.networkDelay(life);
    if (this.world.chance(this.faults.fail / STATEMENTS_PER_TRANSACTION))
      throw new ConnectionError("Connection closed");
    return this.#database.read(statement, input);
  }

  async #transaction<T>(life: Life, sessions: Set<Session>, body: (tx: Transaction) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries += 1) {
      const session = this.#database.begin(life);
      sessions.add(session);
      void session.ended.promise.then(() => sessions.delete(session));
      try {
        const result = await body(this.#transactionOf(session));
        await session.last;
        await this.#commit(session);
        return result;
      } catch (error) {
        if (error instanceof ConnectionError || !life.alive) this.#rollBackLater(session);
        else this.#rollBack(session);
        if (session.failure instanceof StatementError && session.failure.code === "40P01" && tries < DEADLOCK_TRIES)
          continue;
        throw error;
      }
    }
  }

  #transactionOf(session: Session): Transaction {
    const run = (statement: Statement<any>, input: Input) =>
      this.#database.send(session, statement, input, (compiled, rows) => ({ value: rows.map(compiled.run) }));
    return {
      all: <Row>(statement: Statement<any>, input: Input) =>
        this.#database.send(session, statement, input, ({ all, skipsLocked }, rows) => {
          const value = rows.flatMap(all);
          const locks = skipsLocked ? value.map(({ key }) => orderKey(key as string)) : [];
          return { value: value as Row[], locks };
        }),
      run: async (statement, input) => (await run(statement, input)).reduce((sum, { changes }) => sum + changes, 0),
      changed: async (statement, rows) => (await run(statement, rows)).map(({ changes }) => changes > 0),
      insert: async (statement, rows) =>
        (await run(statement, rows)).map(({ changes, lastInsertRowid }) =>
          changes > 0 ? Number(lastInsertRowid) : null,
        ),
      lock: (statement, rows) =>
        this.#database.send(session, statement, rows, ({ all }, inputs) => {
          const found = inputs.flatMap((row) => all(row));
          return { value: undefined, locks: found.map(lockedRow) };
        }),
    };
  }

  /** Sends the COMMIT. After a fault it is refused or lost, takes effect without an answer, or takes effect late. */
  async #commit(session: Session): Promise<void> {
    const { world, faults } = this;
    await this.#database.networkDelay(session.life);
    if (session.failure) throw session.failure;
    const dies = world.chance(faults.crash);
    if (!dies && !world.chance(faults.fail)) return this.#apply(session);
    const fate = world.pick(["refused", "lost", "answer lost", "late"] as const);
    world.log(`a COMMIT of the inbox: ${fate}`);
    if (fate === "answer lost") this.#apply(session);
    if (fate === "late") {
      session.commitSent = true;
      world.after(world.between(1, LATEST_COMMIT_MS), () => this.#apply(session));
    }
    if (dies) crash(world, session.life, "in a COMMIT of the inbox");
    if (fate === "refused") throw new FlushError("could not extend file: no space left on device");
    return this.#loseConnection(session.life);
  }

  /** The connection is closed, or does not answer. */
  async #loseConnection(life: Life): Promise<never> {
    if (this.world.chance(0.2)) await this.world.sleep(DEADLINE_MS);
    if (!life.alive) throw new Dead("the process is dead");
    throw new ConnectionError("Connection closed");
  }

  #apply(session: Session) {
    if (!this.#database.commit(session)) return;
    this.onCommit();
    this.#poll(session.life);
  }

  #rollBack(session: Session) {
    if (!session.commitSent) this.#database.end(session);
  }

  #rollBackLater(session: Session) {
    this.world.after(this.world.between(0, DEAD_CLIENT_MS), () => this.#rollBack(session));
  }

  async #mayFail(life: Life): Promise<void> {
    if (this.world.chance(this.faults.crash / STATEMENTS_PER_TRANSACTION))
      crash(this.world, life, "at a statement of the inbox");
    if (!this.world.chance(this.faults.fail / STATEMENTS_PER_TRANSACTION)) return;
    if (this.world.chance(0.3)) {
      this.world.log("a statement of the inbox fails on its own");
      throw new StatementError("invalid byte sequence", "22021");
    }
    this.world.log("the connection is lost at a statement of the inbox");
    await this.#loseConnection(life);
  }

  #announce(from: Life) {
    for (const [life] of this.#wakes) if (life !== from) this.#wake(life, 50);
  }

  /** Wakes servers by their polling, which finds unannounced work such as a late commit. */
  #poll(from: Life) {
    const claimable = this.database.query("select 1 from order_key where state = 1 limit 1").get();
    if (claimable) for (const [life] of this.#wakes) if (life !== from || !from.alive) this.#wake(life, POLL_MS);
  }

  #wake(life: Life, within: number) {
    this.world.after(this.world.between(0, within), () => {
      const wake = this.#wakes.get(life);
      if (life.alive && wake) life.enter(wake);
    });
  }
}

const orderKey = (key: string): RowName => ({ table: "order_key", key: JSON.stringify([key]) });

/** The row that a locking statement has selected, by the column of its primary key. */
function lockedRow(row: Record<string, unknown>): RowName {
  const [[column, key] = []] = Object.entries(row);
  return { table: TABLES[column!]!, key: JSON.stringify([key]) };
}

const TABLES: Record<string, string> = { seq: "delivery", key: "order_key", user_id: "erasure", id: "problem" };
