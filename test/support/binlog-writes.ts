/** Transactions of a MySQL or MariaDB production, in its database and in a log made by hand. */
import type { Connection } from 'mysql2/promise';
import type { Op, RowChange } from '../../src/change/record.ts';
import { RowShape, type RowImage } from '../../src/change/value.ts';
import { boundary, unread } from './change-events.ts';
import type { MemoryLog } from './memory-log.ts';

export type Values = Readonly<Record<string, string | null>>;
/** A change of one row: of nothing, into nothing, or of one into the other. */
export interface Write {
  readonly table: string;
  readonly before?: Values;
  readonly after?: Values;
  /** Its record cannot be read until `Production.readable`. */
  readonly damaged?: true;
}

/** One database; each table's key is its first column. */
export interface Production {
  readonly client: Connection;
  readonly source: string;
  readonly log: MemoryLog;
  /** Damaged records can be read by now. */
  readable: boolean;
}

function imageOf(values: Values): RowImage {
  return { shape: new RowShape(Object.keys(values)), values: Object.values(values) };
}

function keyOf(values: Values): RowImage {
  const [name = '', value = null] = Object.entries(values)[0] ?? [];
  return imageOf({ [name]: value });
}

let transactions = 0;

/** One transaction in production and in the log. */
export async function commit(at: Production, ...writes: readonly Write[]): Promise<void> {
  transactions += 1;
  const id = `t${String(transactions)}`;
  const counts: Record<string, number> = {};
  const events: {
    readonly topic: string;
    readonly event: Omit<RowChange, 'at'>;
    damaged: boolean;
  }[] = [];
  await at.client.query('START TRANSACTION');
  for (const { table, before, after, damaged } of writes) {
    await at.client.query(statement(at.source, table, before, after));
    const [oldKey, newKey] = [before, after].map((row) => (row === undefined ? null : keyOf(row)));
    const moved = before && after && keyName(before) !== keyName(after);
    const add = (op: Op, parts: Partial<RowChange>): void => {
      counts[`${at.source}.${table}`] = (counts[`${at.source}.${table}`] ?? 0) + 1;
      const order = Object.values(counts).reduce((sum, count) => sum + count, 0);
      const event: Omit<RowChange, 'at'> = {
        ...{ kind: 'change', op, table: { schema: at.source, name: table }, key: null },
        ...{ before: null, after: null, oldKey: null, newKey: null, snapshot: 'no' },
        ...{ transaction: { id, totalOrder: BigInt(order) }, eventTimeMs: null, bytes: 100 },
        source: { connector: 'mysql', file: 'binlog.1', pos: BigInt(order), row: 0, gtid: null },
        ...parts,
      };
      events.push({ topic: `p.${at.source}.${table}`, event, damaged: damaged === true });
    };
    const [old, now] = [before && imageOf(before), after && imageOf(after)];
    if (moved === true) {
      add('delete', { key: oldKey ?? null, before: old ?? null, newKey: newKey ?? null });
      add('create', { key: newKey ?? null, after: now ?? null, oldKey: oldKey ?? null });
    } else if (now === undefined) add('delete', { key: oldKey ?? null, before: old ?? null });
    else if (old === undefined) add('create', { key: newKey ?? null, after: now });
    else add('update', { key: newKey ?? null, before: old, after: now });
  }
  await at.client.query('COMMIT');
  at.log.append('p.transaction', 0, (place) => ({ ...boundary('begin', id, 0), at: place }));
  for (const { topic, event, damaged } of events) {
    at.log.append(topic, 0, (place) => {
      const change: RowChange = { ...event, at: place };
      return damaged && !at.readable ? unread(change) : change;
    });
  }
  at.log.append('p.transaction', 0, (place) => ({
    ...boundary('end', id, 0, counts),
    at: place,
  }));
}

const keyName = (values: Values): string => JSON.stringify(keyOf(values).values);

export async function truncate(at: Production, table: string): Promise<void> {
  await at.client.query(`TRUNCATE ${at.source}.${table}`);
  at.log.append(`p.${at.source}.${table}`, 0, (place) => ({
    ...{ kind: 'change', op: 'truncate', table: { schema: at.source, name: table }, key: null },
    ...{ before: null, after: null, oldKey: null, newKey: null, snapshot: 'no' },
    ...{ transaction: null, eventTimeMs: null, bytes: 100, at: place },
    source: { connector: 'mysql', file: 'binlog.1', pos: 0n, row: 0, gtid: null },
  }));
}

function statement(
  database: string,
  table: string,
  before: Values | undefined,
  after: Values | undefined,
): string {
  const name = `${database}.${table}`;
  const text = (value: string | null): string =>
    value === null ? 'NULL' : `'${value.replaceAll(`'`, `''`)}'`;
  const pairs = (values: Values): string[] =>
    Object.entries(values).map(([column, value]) => `${column} = ${text(value)}`);
  if (before === undefined) return `INSERT INTO ${name} SET ${pairs(after ?? {}).join(', ')}`;
  const where = `WHERE ${pairs(before)[0] ?? ''}`;
  if (after === undefined) return `DELETE FROM ${name} ${where}`;
  return `UPDATE ${name} SET ${pairs(after).join(', ')} ${where}`;
}
