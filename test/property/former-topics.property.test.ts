/** Tables whose names change hands while they are written to: each row's changes go in production's order. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parsePartitionKey, partitionKey } from '../../src/change/position.ts';
import type { ChangeEvent, DecodedRecord } from '../../src/change/record.ts';
import { tableName, type TableId } from '../../src/change/table-id.ts';
import { connectorNamed } from '../../src/decode/connectors/connectors.ts';
import { isBefore, TableNames } from '../../src/decode/table-names.ts';
import { TransactionAssembler } from '../../src/order/assembler.ts';
import { FormerTopics, type FormerTopic } from '../../src/order/former-topics.ts';
import { withFormerNames, type TableRename } from '../../src/schema/table-renames.ts';
import { boundary, changeEvent, image, textTable } from '../support/change-events.ts';

const TABLES = 3;
/** One more than there are tables, so that one is free. */
const NAMES = ['a', 'b', 'c', 'd'];
const PARTITIONS = 2;
const BOUNDARIES = 'p.transaction/0';
const connector = connectorNamed('postgresql');

interface Row {
  readonly kind: 'row';
  readonly table: number;
  readonly key: number;
}
interface Renamed {
  readonly kind: 'rename';
  readonly table: number;
}
/** `isMarked`: the connector says that its rows are of one transaction. */
interface Rows {
  readonly kind: 'rows';
  readonly rows: readonly Row[];
  readonly isMarked: boolean;
}

const row = fc.record<Row>({
  kind: fc.constant('row'),
  table: fc.nat(TABLES - 1),
  key: fc.nat(3),
});
const plans = fc.array(
  fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record<Rows>({
        kind: fc.constant('rows'),
        rows: fc.array(row, { minLength: 1, maxLength: 3 }),
        isMarked: fc.boolean(),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record<Renamed>({ kind: fc.constant('rename'), table: fc.nat(TABLES - 1) }),
    },
  ),
  { maxLength: 30 },
);

const id = (name: string): TableId => ({ schema: 'public', name });

interface Log {
  /** In the order in which the connector sends them. */
  readonly records: readonly (readonly [partition: string, DecodedRecord])[];
  /** By table. */
  readonly topics: ReadonlyMap<string, readonly FormerTopic[]>;
  /** By table now and key, the places of its changes. */
  readonly rows: ReadonlyMap<string, readonly bigint[]>;
}

/** What a connector makes of it, as it is read by one who knows all renames. */
function logOf(plan: readonly (Rows | Renamed)[]): Log {
  const names = NAMES.slice(0, TABLES);
  let free = NAMES.slice(TABLES);
  let lsn = 0n;
  const renames: TableRename[] = [];
  const sent: ChangeEvent[] = [];
  const records: (readonly [string, DecodedRecord])[] = [];
  const lengthOf = (key: string): number => records.filter(([at]) => at === key).length;
  const append = (key: string, record: DecodedRecord): void => {
    records.push([key, record]);
  };
  const owners: number[] = [];
  plan.forEach((step, n) => {
    lsn += 1n;
    if (step.kind === 'rename') {
      const [to = '', ...rest] = free;
      const from = names[step.table] ?? '';
      free = [...rest, from];
      names[step.table] = to;
      const until = { ...connector.position({}), ...{ lsn } };
      renames.push({ from: id(from), to: id(to), until, turn: lsn });
      return;
    }
    const tx = String(n);
    const counts: Record<string, number> = {};
    if (step.isMarked) append(BOUNDARIES, boundary('begin', tx, lengthOf(BOUNDARIES)));
    for (const [i, { table, key }] of step.rows.entries()) {
      lsn += 1n;
      const name = names[table] ?? '';
      const partition = key % PARTITIONS;
      const topic = `p.public.${name}`;
      const at = partitionKey(topic, partition);
      counts[`public.${name}`] = (counts[`public.${name}`] ?? 0) + 1;
      const change = changeEvent({
        ...{ table: name, op: 'update', topic, partition, offset: lengthOf(at), lsn },
        ...{ key: image({ id: String(key) }), after: image({ id: String(key) }) },
        tx: step.isMarked ? { id: tx, totalOrder: i + 1 } : null,
      });
      append(at, change);
      sent.push(change);
      owners.push(table);
    }
    if (step.isMarked) append(BOUNDARIES, boundary('end', tx, lengthOf(BOUNDARIES), counts));
  });

  const catalogue = withFormerNames(
    new Map(names.map((name) => [`public.${name}`, textTable(name, ['id'])])),
    renames,
  );
  const known = new TableNames(catalogue, connector);
  const rows = new Map<string, bigint[]>();
  const read = new Map<DecodedRecord, DecodedRecord>();
  for (const [i, change] of sent.entries()) {
    const now = known.of(change.table, change.source, () => false);
    // Else the test is none of the order.
    expect(now?.name).toBe(names[owners[i] ?? 0]);
    if (now === null) continue;
    const isFormer = known.isFormer(change.table, change.source);
    read.set(change, { ...change, table: now, ...(isFormer && { formerly: change.table }) });
    const of = `${now.name} ${String(change.key?.values[0])}`;
    rows.set(of, [...(rows.get(of) ?? []), placeOf(change)]);
  }
  const topics = [...catalogue].map(
    ([label, { names: own = [] }]) =>
      [label, own.map(({ table, until }) => ({ topic: `p.${tableName(table)}`, until }))] as const,
  );
  return {
    records: records.map(([key, one]) => [key, read.get(one) ?? one]),
    topics: new Map(topics),
    rows,
  };
}

function placeOf({ source }: ChangeEvent): bigint {
  return 'lsn' in source ? (source.lsn ?? 0n) : 0n;
}

/**
 * Reads it in an order of its own, while the connector sends it, which is ahead of that or behind; and of
 * what is ahead of others never more: so little memory has it.
 */
async function applied(
  log: Log,
  turns: () => number,
): Promise<ReadonlyMap<string, readonly bigint[]>> {
  const partitions = new Map<string, DecodedRecord[]>();
  const lengths = new Map<string, bigint>();
  let now = 0;
  const former = new FormerTopics({
    ...{ topics: log.topics, from: new Map(), now: () => now },
    isBefore: (place, until) => isBefore(connector, place, until),
    ends: (topic) =>
      Promise.resolve(
        new Map([...lengths].filter(([key]) => parsePartitionKey(key).topic === topic)),
      ),
  });
  const assembler = new TransactionAssembler({
    ...{ mode: 'transaction', isSubscribed: () => true, now: () => now, former },
  });
  const rows = new Map<string, bigint[]>();
  const drain = async (): Promise<void> => {
    do {
      await Promise.resolve();
      for (let next = assembler.take(); next !== undefined; next = assembler.take()) {
        expect(next.complete).toBe(true);
        for (const change of next.changes) {
          const of = `${change.table.name} ${String(change.key?.values[0])}`;
          rows.set(of, [...(rows.get(of) ?? []), placeOf(change)]);
        }
      }
    } while (former.isAsking);
  };
  const left = [...log.records];
  for (;;) {
    now += 100;
    const paused = assembler.ahead('of all');
    const open = [...partitions].filter(([key, all]) => all.length > 0 && !paused.has(key));
    if (left.length > 0 && (open.length === 0 || turns() % 2 === 0)) {
      const [key = '', record] = left.shift() ?? [];
      if (record === undefined) break;
      partitions.set(key, [...(partitions.get(key) ?? []), record]);
      lengths.set(key, (lengths.get(key) ?? 0n) + 1n);
      continue;
    }
    if (open.length === 0 && former.isAsking) {
      await drain();
      continue;
    }
    if (open.length === 0) break;
    const record = open[turns() % open.length]?.[1].shift();
    if (record === undefined) break;
    assembler.push(record);
    assembler.advance(record.at.topic, record.at.partition, record.at.offset + 1n);
    await drain();
  }
  // What is paused waits for something that is not.
  expect([...partitions].filter(([, all]) => all.length > 0)).toEqual([]);
  expect(assembler.held().events).toBe(0);
  return rows;
}

test('whatever order it is read in, nothing waits for ever, and each row’s changes stay in order', async () => {
  await fc.assert(
    fc.asyncProperty(plans, fc.infiniteStream(fc.nat(9)), async (plan, turns) => {
      const log = logOf(plan);
      const next = turns[Symbol.iterator]();
      const taken = await applied(log, () => Number(next.next().value ?? 0));
      expect(taken).toEqual(log.rows);
    }),
    { numRuns: Number(process.env.RUNS ?? 2_000) },
  );
});

const until = { ...connector.position({}), lsn: 500n };

function formerTopics(now: () => number, end: bigint): FormerTopics {
  return new FormerTopics({
    ...{ topics: new Map([['public.b', [{ topic: 'p.public.a', until }]]]), from: new Map(), now },
    isBefore: (place, end) => isBefore(connector, place, end),
    ends: () => Promise.resolve(new Map([['p.public.a/0', end]])),
  });
}

test.each([null, { id: '7', totalOrder: 1 }])(
  'what waits for a topic of before goes when nothing comes for too long, and is not called whole: %o',
  async (tx) => {
    let now = 0;
    const assembler = new TransactionAssembler({
      ...{ mode: 'transaction', isSubscribed: () => true, now: () => now },
      ...{ stallLimitMs: 4_000, former: formerTopics(() => now, 1_000n) },
    });
    if (tx !== null) assembler.push(boundary('begin', '7', 0));
    assembler.push(
      changeEvent({ table: 'b', op: 'delete', key: image({ id: '1' }), lsn: 900n, tx }),
    );
    if (tx !== null) assembler.push(boundary('end', '7', 1, { 'public.b': 1 }));
    const taken = async (): Promise<readonly ChangeEvent[]> => {
      await Promise.resolve();
      return assembler.take()?.changes ?? [];
    };
    const name = { schema: 'public', name: 'a' };
    // As long as it is read, for however long.
    for (let offset = 0; offset < 60; offset += 1, now += 500) {
      const old = changeEvent({ ...{ op: 'read', topic: 'p.public.a', table: 'b', offset } });
      assembler.push({ ...old, formerly: name, key: image({ id: '1' }) });
      assembler.advance('p.public.a', 0, BigInt(offset) + 1n);
      expect((await taken()).map(({ op }) => op)).toEqual(['read']);
    }
    for (const end = now + 3_500; now < end; now += 500) expect(await taken()).toEqual([]);
    now += 500;
    await Promise.resolve();
    expect(assembler.take()).toMatchObject({ complete: false, changes: [{ op: 'delete' }] });
  },
);
