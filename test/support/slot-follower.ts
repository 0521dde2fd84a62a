import type pg from 'pg';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ChangeEvent } from '../../src/change/record.ts';
import { START, type OffsetMap } from '../../src/change/position.ts';
import { RowShape } from '../../src/change/value.ts';
import { parseLsn } from '../../src/dialect/postgres/production/pin.ts';
import type {
  BarrierRun,
  FollowerControl,
  ReachedBarrier,
} from '../../src/drift/follower-control.ts';
import {
  applierSessionSql,
  applyBatch,
  openApplySession,
} from '../../src/dialect/postgres/apply/apply.ts';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import type { BatchStep } from '../../src/order/change-batch.ts';
import { sampleChange } from './change-samples.ts';
import { connect, readNow } from './comparison.ts';
import { batchOf } from './overlay-applier.ts';

const PARTITION = 'log/0';
const KEY = new RowShape(['id']);
const ROW = new RowShape(['id', 'value']);

/**
 * The smallest follower that is real: reads production's own log through a replication slot
 * (test_decoding), and applies table `t (id int, value int)` to a shadow. For drift checks under
 * load without Kafka; its log has one partition, whose offsets count changes.
 */
export class SlotFollower implements FollowerControl {
  readonly description = 'replication slot';
  readonly #production: pg.Client;
  readonly #shadow: pg.Client;
  /** What a reread supplies is known from the ledger: there is one. */
  #ledger = false;
  readonly #shadowUrl: string;
  readonly #slot: string;
  readonly #log: ChangeEvent[] = [];
  #read = 0n;
  #applied = 0;
  #unproven: number[] = [];
  #frozen = false;
  #stopped = false;
  #barrier: {
    run: BarrierRun;
    reached: (value: ReachedBarrier) => void;
    failed: (error: unknown) => void;
  } | null = null;
  #deferred: ChangeEvent[] = [];
  #busy: Promise<void> = Promise.resolve();
  #loop: Promise<void> = Promise.resolve();

  private constructor(parts: {
    production: pg.Client;
    shadow: pg.Client;
    url: string;
    slot: string;
  }) {
    this.#production = parts.production;
    this.#shadow = parts.shadow;
    this.#shadowUrl = parts.url;
    this.#slot = parts.slot;
  }

  static async start(production: string, shadow: string, slot: string): Promise<SlotFollower> {
    const client = await connect(production);
    await client.query(`SELECT pg_create_logical_replication_slot('${slot}', 'test_decoding')`);
    const parts = { production: client, shadow: await connect(shadow), url: shadow, slot };
    const follower = new SlotFollower(parts);
    follower.#loop = follower.#run();
    return follower;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#loop;
    await this.#production.query(`SELECT pg_drop_replication_slot('${this.#slot}')`);
    await this.#production.end();
    await this.#shadow.end();
  }

  committed(): Promise<bigint> {
    return Promise.resolve(this.#read);
  }

  ends(): Promise<OffsetMap> {
    return Promise.resolve(new Map([[PARTITION, BigInt(this.#log.length)]]));
  }

  starts(): Promise<OffsetMap> {
    return Promise.resolve(new Map([[PARTITION, 0n]]));
  }

  async freeze(): Promise<void> {
    this.#frozen = true;
    await this.#busy;
  }

  resume(): void {
    this.#frozen = false;
  }

  progress(): ReturnType<FollowerControl['progress']> {
    const offsets = new Map([[PARTITION, BigInt(this.#applied)]]);
    const position = { ...START, offsets };
    return Promise.resolve({ position, unproven: [...this.#unproven], unprovenEvicted: null });
  }

  prove(txIds: readonly number[]): Promise<void> {
    this.#unproven = this.#unproven.filter((id) => !txIds.includes(id));
    return Promise.resolve();
  }

  runToBarrier(run: BarrierRun): Promise<ReachedBarrier> {
    return new Promise((reached, failed) => {
      this.#barrier = { run, reached, failed };
      this.resume();
    });
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      await this.#readOn();
      if (!this.#frozen) {
        this.#busy = this.#applyOn();
        await this.#busy;
      }
      await sleep(3);
    }
  }

  async #readOn(): Promise<void> {
    const { rows } = await this.#production.query<{ lsn: string; xid: string; data: string }>(
      `SELECT lsn::text, xid::text, data FROM pg_logical_slot_get_changes('${this.#slot}', NULL, NULL)`,
    );
    for (const { lsn, xid, data } of rows) {
      const change = parseChange(data, Number(xid));
      if (change !== null) this.#log.push(change);
      const at = parseLsn(lsn);
      if (at > this.#read) this.#read = at;
    }
  }

  async #applyOn(): Promise<void> {
    while (this.#applied < this.#log.length && !this.#frozen) {
      const change = this.#log[this.#applied];
      if (change === undefined) return;
      this.#applied += 1;
      if (this.#barrier?.run.visible(change) === false) this.#deferred.push(change);
      else await this.#apply(change);
    }
    const barrier = this.#barrier;
    const end = Number(barrier?.run.ends.get(PARTITION) ?? 0n);
    if (barrier === null || this.#applied < end) return;
    this.#barrier = null;
    this.#ledger ||= barrier.run.supply !== undefined;
    try {
      await barrier.run.supply?.(0, (steps) => this.#write(steps));
    } catch (error) {
      barrier.failed(error);
      return;
    }
    const base = await readNow(this.#shadowUrl);
    const transactions = new Set(this.#deferred.map(txIdOf)).size;
    barrier.reached({ base, deferredTransactions: transactions, missing: 0 });
    for (const change of this.#deferred) await this.#apply(change);
    this.#deferred = [];
  }

  /** What a barrier supplies, by the product's own applier. */
  async #write(steps: readonly BatchStep[]): Promise<void> {
    if (steps.length === 0) return;
    const client = await connect(this.#shadowUrl);
    await client.query(applierSessionSql);
    const session = await openApplySession(client, await readCatalogue(client));
    await client.query('BEGIN');
    await applyBatch(session, batchOf(...steps));
    await client.query('COMMIT');
    await client.end();
  }

  async #apply(change: ChangeEvent): Promise<void> {
    const txId = txIdOf(change);
    if (!this.#unproven.includes(txId)) this.#unproven.push(txId);
    const [id, value] = change.after?.values ?? change.key?.values ?? [];
    await this.#shadow.query(
      change.op === 'delete'
        ? `DELETE FROM t WHERE id = ${String(id)}`
        : `INSERT INTO t VALUES (${String(id)}, ${String(value)})
           ON CONFLICT (id) DO UPDATE SET value = excluded.value`,
    );
    if (!this.#ledger) return;
    // As the product's applier does: a value that is known is unknown no more.
    const forget = 'DELETE FROM understudy.unknown_value WHERE key = ARRAY[$1]';
    await this.#shadow.query(forget, [String(id)]);
  }
}

function txIdOf(change: ChangeEvent): number {
  return 'txId' in change.source ? (change.source.txId ?? 0) : 0;
}

/** `table public.t: UPDATE: id[integer]:5 value[integer]:7`; null for anything else. */
function parseChange(data: string, txId: number): ChangeEvent | null {
  const [, op, id, value] =
    /^table public\.t: (INSERT|UPDATE|DELETE): id\[integer\]:(\d+)(?: value\[integer\]:(\d+))?$/.exec(
      data,
    ) ?? [];
  if (op === undefined || id === undefined) return null;
  const key = { shape: KEY, values: [id] };
  if (op === 'DELETE') return sampleChange({ op: 'delete', txId, key, after: null });
  return sampleChange({ txId, key, after: { shape: ROW, values: [id, value ?? null] } });
}
