/**
 * An event log without Kafka and Debezium: what a logical replication slot of production sends
 * (test_decoding), as records in partitions. Like Debezium it reads the WAL that is flushed, so a
 * transaction can be here before any snapshot sees it. One partition per table and one for
 * transaction boundaries. Columns are integers and texts without spaces.
 */
import type pg from 'pg';
import { setTimeout as sleep } from 'node:timers/promises';
import { parsePartitionKey, partitionKey, type OffsetMap } from '../../src/change/position.ts';
import type { DecodedRecord, LogRecord } from '../../src/change/record.ts';
import { parseLsn } from '../../src/dialect/postgres/production/pin.ts';
import type { ChangeSource, ChangeStream, LogChunk } from '../../src/source/change-source.ts';
import type { CommittedOffsets } from '../../src/source/committed-offsets.ts';
import { boundary, changeEvent, image } from './change-events.ts';
import { connect } from './comparison.ts';

const TRANSACTIONS = 'p.transaction';
const OPS = { INSERT: 'create', UPDATE: 'update', DELETE: 'delete' } as const;

type Make = (offset: number) => DecodedRecord;

export class SlotLog implements ChangeSource, CommittedOffsets, AsyncDisposable {
  readonly description = 'replication slot';
  readonly endless = true;
  readonly #client: pg.Client;
  readonly #slot: string;
  readonly #partitions = new Map<string, DecodedRecord[]>();
  /** First offsets of partitions that lost records. */
  readonly #starts = new Map<string, bigint>();
  #read = 0n;
  #stopped = false;
  #loop: Promise<void> = Promise.resolve();

  private constructor(client: pg.Client, slot: string) {
    this.#client = client;
    this.#slot = slot;
  }

  static async start(production: string, slot: string): Promise<SlotLog> {
    const client = await connect(production);
    await client.query(`SELECT pg_create_logical_replication_slot('${slot}', 'test_decoding')`);
    const log = new SlotLog(client, slot);
    log.#loop = log.#readOn();
    return log;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    await this.#loop;
    await this.#client.query(`SELECT pg_drop_replication_slot('${this.#slot}')`);
    await this.#client.end();
  }

  /** Records of a partition that is named like `public.t`. */
  recordsOf(table: string): number {
    return this.#partitions.get(partitionKey(`p.${table}`, 0))?.length ?? 0;
  }

  /** Loses all that a partition holds by now. */
  lose(table: string): void {
    const key = partitionKey(`p.${table}`, 0);
    this.#starts.set(key, BigInt(this.#partitions.get(key)?.length ?? 0));
  }

  committed(): Promise<bigint> {
    return Promise.resolve(this.#read);
  }

  ends(): Promise<OffsetMap> {
    const ends = [...this.#partitions].map(([key, all]) => [key, BigInt(all.length)] as const);
    return Promise.resolve(new Map(ends));
  }

  starts(): Promise<OffsetMap> {
    const keys = [...this.#partitions.keys()];
    return Promise.resolve(new Map(keys.map((key) => [key, this.#starts.get(key) ?? 0n])));
  }

  decode(record: LogRecord): DecodedRecord {
    const key = partitionKey(record.topic, record.partition);
    const found = this.#partitions.get(key)?.[Number(record.offset)];
    if (found === undefined) throw new Error(`no record at ${key}/${String(record.offset)}`);
    return found;
  }

  open(from: OffsetMap, options: { readonly signal: AbortSignal }): Promise<ChangeStream> {
    return Promise.resolve({
      chunks: this.#chunks(new Map(from), options.signal),
      pause: () => undefined,
      released: () => undefined,
      commit: () => Promise.resolve(),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    });
  }

  async *#chunks(next: Map<string, bigint>, signal: AbortSignal): AsyncGenerator<LogChunk> {
    for (const [key, start] of this.#starts) {
      if ((next.get(key) ?? start) < start) throw new Error(`${key} begins at ${String(start)}`);
    }
    while (!signal.aborted) {
      let found = false;
      for (const [key, all] of this.#partitions) {
        const at = Number(next.get(key) ?? 0n);
        // A few at a time, so that the partitions of one transaction come apart.
        const end = Math.min(all.length, at + 7);
        if (end <= at) continue;
        found = true;
        next.set(key, BigInt(end));
        const place = parsePartitionKey(key);
        const records = Array.from({ length: end - at }, (_, i) => ({
          ...place,
          ...{ offset: BigInt(at + i), timestampMs: 0, key: null, value: null, headers: [] },
        }));
        yield { ...place, records, next: BigInt(end), end: BigInt(all.length) };
      }
      if (!found) await sleep(3);
    }
  }

  async #readOn(): Promise<void> {
    while (!this.#stopped) {
      const { rows } = await this.#client.query<{ lsn: string; xid: string; data: string }>(
        `SELECT lsn::text, xid::text, data
          FROM pg_logical_slot_get_changes('${this.#slot}', NULL, NULL)`,
      );
      let counts: Record<string, number> = {};
      for (const { lsn, xid, data } of rows) {
        const at = parseLsn(lsn);
        if (data.startsWith('BEGIN')) {
          counts = {};
          this.#append(TRANSACTIONS, (offset) => boundary('begin', xid, offset));
        } else if (data.startsWith('COMMIT')) {
          const all = counts;
          this.#append(TRANSACTIONS, (offset) => boundary('end', xid, offset, all));
          // Only now is the whole transaction here.
          if (at > this.#read) this.#read = at;
        } else this.#change(data, { xid, lsn: at, counts });
      }
      await sleep(3);
    }
  }

  #change(
    data: string,
    tx: { readonly xid: string; readonly lsn: bigint; readonly counts: Record<string, number> },
  ): void {
    const [, table = '', op = '', text = ''] =
      /^table public\.(\w+): (INSERT|UPDATE|DELETE|TRUNCATE): (.*)$/.exec(data) ?? [];
    if (table === '') return;
    const topic = `p.public.${table}`;
    const add = (more: Partial<Parameters<typeof changeEvent>[0]>): void => {
      const totalOrder = Object.values(tx.counts).reduce((sum, n) => sum + n, 1);
      tx.counts[`public.${table}`] = (tx.counts[`public.${table}`] ?? 0) + 1;
      const base = { op: 'truncate', table, topic, lsn: tx.lsn } as const;
      this.#append(topic, (offset) =>
        changeEvent({ ...base, offset, tx: { id: tx.xid, totalOrder }, ...more }),
      );
    };
    if (op === 'TRUNCATE') {
      add({});
      return;
    }
    const [old, now] = text.startsWith('old-key: ') ? text.split(' new-tuple: ') : [null, text];
    const row = rowOf(now ?? '');
    const key = image({ id: row['id'] ?? null });
    const kind = OPS[op as keyof typeof OPS];
    if (typeof old !== 'string') {
      add({ op: kind, key, after: kind === 'delete' ? null : image(row) });
      return;
    }
    // A changed key is two events, as Debezium makes them.
    const oldKey = image({ id: rowOf(old)['id'] ?? null });
    add({ op: 'delete', key: oldKey, newKey: key });
    add({ op: 'create', key, oldKey, after: image(row) });
  }

  #append(topic: string, make: Make): void {
    const key = partitionKey(topic, 0);
    const all = this.#partitions.get(key) ?? [];
    all.push(make(all.length));
    this.#partitions.set(key, all);
  }
}

function rowOf(text: string): Record<string, string | null> {
  return Object.fromEntries(
    [...text.matchAll(/(\w+)\[[\w ]+\]:(?:'([^']*)'|(\S+))/g)].map(([, name, quoted, bare]) => [
      name ?? '',
      quoted ?? (bare === 'null' ? null : (bare ?? null)),
    ]),
  );
}
