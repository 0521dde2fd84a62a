import type { Op, RowChange, TransactionBoundary, UnreadChange } from '../../src/change/record.ts';
import { RowShape, type ColumnValue, type RowImage } from '../../src/change/value.ts';
import type { ColumnSchema, TableSchema } from '../../src/schema/table-schema.ts';

/** An image from an object: its fields in order. */
export function image(row: Readonly<Record<string, ColumnValue>>): RowImage {
  return { shape: new RowShape(Object.keys(row)), values: Object.values(row) };
}

/** A change of `public.<table>`, with everything that is not given left empty. */
export function changeEvent(options: {
  readonly table?: string;
  readonly op: Op;
  readonly topic?: string;
  readonly partition?: number;
  readonly offset?: number;
  readonly key?: RowImage | null;
  readonly before?: RowImage | null;
  readonly after?: RowImage | null;
  readonly oldKey?: RowImage | null;
  readonly newKey?: RowImage | null;
  readonly tx?: { readonly id: string; readonly totalOrder: number } | null;
  readonly lsn?: bigint;
  readonly lastCommitLsn?: bigint;
}): RowChange {
  const table = options.table ?? 't';
  const tx = options.tx ?? null;
  return {
    kind: 'change',
    op: options.op,
    table: { schema: 'public', name: table },
    at: {
      topic: options.topic ?? `p.public.${table}`,
      partition: options.partition ?? 0,
      offset: BigInt(options.offset ?? 0),
    },
    key: options.key ?? null,
    before: options.before ?? null,
    after: options.after ?? null,
    oldKey: options.oldKey ?? null,
    newKey: options.newKey ?? null,
    source: {
      connector: 'postgresql',
      lsn: options.lsn ?? 0n,
      lastCommitLsn: options.lastCommitLsn ?? null,
      txId: tx === null ? null : Number(tx.id),
    },
    snapshot: 'no',
    eventTimeMs: 1_000,
    transaction: tx === null ? null : { id: tx.id, totalOrder: BigInt(tx.totalOrder) },
    bytes: 100,
  };
}

/** What is told of a change whose record is damaged. */
export function unread({ key, oldKey, newKey, table, at, bytes }: RowChange): UnreadChange {
  return {
    ...{ kind: 'change', op: 'unread', key, oldKey, newKey, table, at, bytes },
    ...{ before: null, after: null, snapshot: 'no', transaction: null, eventTimeMs: null },
    source: { connector: 'postgresql', lsn: null, lastCommitLsn: null, txId: null },
    cause: { code: 'RECORD_CORRUPT', message: 'damaged' },
  };
}

/** A BEGIN or END on the transaction topic `p.transaction`. */
export function boundary(
  kind: 'begin' | 'end',
  id: string,
  offset: number,
  counts: Readonly<Record<string, number>> = {},
): TransactionBoundary {
  const entries = Object.entries(counts).map(([name, n]) => [name, BigInt(n)] as const);
  return {
    kind,
    id,
    at: { topic: 'p.transaction', partition: 0, offset: BigInt(offset) },
    counts: kind === 'end' ? new Map(entries) : null,
    eventTimeMs: null,
  };
}

/** A table `public.<name>` whose key is its first column; all columns are text. */
export function textTable(name: string, columns: readonly string[], keyed = true): TableSchema {
  return {
    id: { schema: 'public', name },
    columns: columns.map(textColumn),
    key: keyed ? columns.slice(0, 1) : [],
    uniques: [],
    foreignKeys: [],
    partitioned: false,
  };
}

function textColumn(name: string): ColumnSchema {
  return {
    name,
    type: { sql: 'text', kind: 'text' },
    nullable: true,
    generated: 'no',
    identity: 'no',
    toastable: true,
  };
}
