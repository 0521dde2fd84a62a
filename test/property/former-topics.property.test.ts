/** Tables whose names change hands while they are written to: each row's changes go in production's order. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { partitionKey } from '../../src/change/position.ts';
import type { ChangeEvent, DecodedRecord } from '../../src/change/record.ts';
import { tableName, type TableId } from '../../src/change/table-id.ts';
import { connectorNamed } from '../../src/decode/connectors/connectors.ts';
import { isBefore, TableNames } from '../../src/decode/table-names.ts';
import { TransactionAssembler } from '../../src/order/assembler.ts';
import { FormerTopics } from '../../src/order/former-topics.ts';
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
  readonly partitions: ReadonlyMap<string, readonly DecodedRecord[]>;
  readonly former: FormerTopics;
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
  const partitions = new Map<string, DecodedRecord[]>();
  const lengthOf = (key: string): number => partitions.get(key)?.length ?? 0;
  const append = (key: string, record: DecodedRecord): void => {
    partitions.set(key, [...(partitions.get(key) ?? []), record]);
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
  const former = new Map(
    [...catalogue].map(([label, { names: own = [] }]) => [
      label,
      own.flatMap(({ table, until }) =>
        Array.from({ length: PARTITIONS }, (_, partition) => {
          const key = partitionKey(`p.${tableName(table)}`, partition);
          return { key, until, end: BigInt(lengthOf(key)) };
        }).filter(({ end }) => end > 0n),
      ),
    ]),
  );
  return {
    partitions: new Map(
      [...partitions].map(([key, all]) => [key, all.map((one) => read.get(one) ?? one)]),
    ),
    former: new FormerTopics(former, (place, until) => isBefore(connector, place, until)),
    rows,
  };
}

function placeOf({ source }: ChangeEvent): bigint {
  return 'lsn' in source ? (source.lsn ?? 0n) : 0n;
}

/** Reads it in an order of its own, what is ahead never: so little memory has it. */
function applied(log: Log, turns: () => number): ReadonlyMap<string, readonly bigint[]> {
  const assembler = new TransactionAssembler({
    ...{ mode: 'transaction', isSubscribed: () => true, now: () => 0, former: log.former },
  });
  const left = new Map([...log.partitions].map(([key, all]) => [key, [...all]]));
  const rows = new Map<string, bigint[]>();
  const drain = (): void => {
    for (let next = assembler.take(); next !== undefined; next = assembler.take()) {
      expect(next.complete).toBe(true);
      for (const change of next.changes) {
        const of = `${change.table.name} ${String(change.key?.values[0])}`;
        rows.set(of, [...(rows.get(of) ?? []), placeOf(change)]);
      }
    }
  };
  for (;;) {
    const paused = assembler.ahead('of all');
    const open = [...left].filter(([key, all]) => all.length > 0 && !paused.has(key));
    if (open.length === 0) break;
    const record = open[turns() % open.length]?.[1].shift();
    if (record === undefined) break;
    assembler.push(record);
    assembler.advance(record.at.topic, record.at.partition, record.at.offset + 1n);
    drain();
  }
  // What is paused waits for something that is not.
  expect([...left].filter(([, all]) => all.length > 0)).toEqual([]);
  expect(assembler.held().events).toBe(0);
  return rows;
}

test('whatever order it is read in, nothing waits for ever, and each row’s changes stay in order', () => {
  fc.assert(
    fc.property(plans, fc.infiniteStream(fc.nat(9)), (plan, turns) => {
      const log = logOf(plan);
      const next = turns[Symbol.iterator]();
      const taken = applied(log, () => Number(next.next().value ?? 0));
      expect(taken).toEqual(log.rows);
    }),
    { numRuns: Number(process.env.RUNS ?? 2_000) },
  );
});

test('what waits for a topic of before goes when it has waited for too long, and is not called whole', () => {
  const [from, to] = [id('a'), id('b')];
  const until = { ...connector.position({}), lsn: 5n };
  const renames = [{ from, to, until, turn: 5n }];
  const catalogue = withFormerNames(new Map([['public.b', textTable('b', ['id'])]]), renames);
  expect(catalogue.get('public.b')?.names).toHaveLength(1);
  for (const tx of [null, { id: '7', totalOrder: 1 }]) {
    let now = 0;
    const former = new FormerTopics(
      new Map([['public.b', [{ key: 'p.public.a/0', until, end: 1n }]]]),
      (place, end) => isBefore(connector, place, end),
    );
    const assembler = new TransactionAssembler({
      ...{ mode: 'transaction', isSubscribed: () => true, now: () => now, former },
      stallLimitMs: 4_000,
    });
    if (tx !== null) assembler.push(boundary('begin', '7', 0));
    assembler.push(changeEvent({ table: 'b', op: 'delete', key: image({ id: '1' }), lsn: 9n, tx }));
    if (tx !== null) assembler.push(boundary('end', '7', 1, { 'public.b': 1 }));
    for (; now < 4_000; now += 500) {
      const changes: readonly ChangeEvent[] = assembler.take()?.changes ?? [];
      expect(changes).toEqual([]);
    }
    expect(assembler.take()).toMatchObject({ complete: false, changes: [{ op: 'delete' }] });
  }
});
