import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { ChangeEvent, DecodedRecord } from '../../src/change/record.ts';
import { partitionKey, type OffsetMap, type SourcePosition } from '../../src/change/position.ts';
import { imageValue } from '../../src/change/value.ts';
import { connectorNamed } from '../../src/decode/connectors/connectors.ts';
import { TransactionAssembler } from '../../src/order/assembler.ts';
import { barriersOf } from '../../src/order/barriers.ts';
import { SecondDeliveries } from '../../src/order/second-deliveries.ts';
import { boundary, changeEvent, image, textTable } from '../support/change-events.ts';

/** Tables with a key, without one, and with one that is the same in capitals. */
type TableName = 't' | 'u' | 'bag' | 'ci';

interface Statement {
  readonly kind: 'put' | 'delete' | 'truncate';
  readonly table: TableName;
  readonly key: number;
  /** Of `ci`: how the key is spelled. */
  readonly isUpper: boolean;
  /** Where a truncate lies, and rows of `bag`; others lie by their key. */
  readonly partition: number;
  /** The connector goes back by so many statements after this one, and delivers them again. */
  readonly again: number;
  /** Of a row of `bag` behind another: it was written with it, by one record of production's log. */
  readonly isWithLast: boolean;
}
type Plan = readonly Statement[];

/** What production does: rows by key, truncates of one of these tables, in partitions. */
const statementsOn = (...tables: readonly TableName[]) =>
  fc.array(
    fc.record({
      kind: fc.constantFrom<Statement['kind']>('put', 'put', 'put', 'delete', 'truncate'),
      table: fc.constantFrom(...tables),
      key: fc.nat(5),
      isUpper: fc.boolean(),
      partition: fc.nat(2),
      again: fc.oneof(
        { weight: 6, arbitrary: fc.constant(0) },
        { weight: 1, arbitrary: fc.nat(6) },
      ),
      isWithLast: fc.boolean(),
    }),
    { maxLength: 30 },
  );
const statements = statementsOn('t', 'u');

/** Of every topic. */
let partitions = 3;
const BOUNDARIES = 'p.transaction/0';
const { compare, compareInLog } = connectorNamed('postgresql');

const CATALOGUE = new Map(
  (['t', 'u', 'bag', 'ci'] as const).map((name) => [
    `public.${name}`,
    textTable(name, ['id', 'v'], name !== 'bag'),
  ]),
);
const SPREAD = barriersOf(CATALOGUE, new Set(['public.t', 'public.u']));

type Rows = Map<string, string>;

function apply(rows: Rows, event: ChangeEvent): void {
  const { name } = event.table;
  if (event.op === 'truncate') {
    for (const key of rows.keys()) if (key.startsWith(`${name}/`)) rows.delete(key);
    return;
  }
  if (name === 'bag') {
    const content = event.after ?? event.before;
    const row = `bag/${String(content === null ? null : imageValue(content, 'v'))}`;
    const count = Number(rows.get(row) ?? 0) + (event.op === 'delete' ? -1 : 1);
    if (count > 0) rows.set(row, String(count));
    else rows.delete(row);
    return;
  }
  const id = String(event.key === null ? null : imageValue(event.key, 'id'));
  const key = `${name}/${id.toLowerCase()}`;
  if (event.op === 'delete') rows.delete(key);
  else rows.set(key, String(event.after === null ? null : imageValue(event.after, 'v')));
}

/** One statement as its event, wherever it stands in its partition. */
function eventOf(
  plan: Plan,
  { index, time }: Delivery,
  offset: number,
  marked: boolean,
): ChangeEvent {
  const statement = plan[index];
  if (statement === undefined) throw new Error('no such statement');
  const { kind, table } = statement;
  const id = spelledKey(statement);
  const isBag = table === 'bag';
  const content = image({ v: String(statement.key) });
  const first = firstOf(plan, index);
  const totalOrder = index - first + 1;
  return changeEvent({
    op: kind === 'put' ? (isBag || isNew(plan, index) ? 'create' : 'update') : kind,
    table,
    topic: `p.public.${table}`,
    partition: partitionOf(plan, { index, time }),
    offset,
    key: kind === 'truncate' || isBag ? null : image({ id }),
    before: isBag && kind === 'delete' ? content : null,
    after: kind === 'put' ? (isBag ? content : image({ id, v: String(index) })) : null,
    lsn: BigInt(first + 1),
    lastCommitLsn: 0n,
    tx: isBag || (marked && kind !== 'truncate') ? { id: String(first + 1), totalOrder } : null,
  });
}

/** Is there no such row before this statement? */
function isNew(plan: Plan, index: number): boolean {
  const { table, key } = plan[index] ?? {};
  const before = plan
    .slice(0, index)
    .filter((one) => one.table === table && (one.kind === 'truncate' || one.key === key));
  return before.at(-1)?.kind !== 'put';
}

/** Of what was written by one record of production's log, the first. */
function firstOf(plan: Plan, index: number): number {
  const [before, at] = [plan[index - 1], plan[index]];
  const isOne = [before, at].every((one) => one?.table === 'bag' && one.kind === 'put');
  return isOne && at?.isWithLast === true ? firstOf(plan, index - 1) : index;
}

function spelledKey({ table, key, isUpper }: Statement): string {
  return table === 'ci' ? `${isUpper ? 'K' : 'k'}${key}` : String(key);
}

/** A row that is there is spelled as it was inserted: an event of it tells that key. */
function asSpelled(plan: Plan): Plan {
  const spelled = new Map<number, boolean>();
  return plan.map((statement) => {
    if (statement.kind === 'truncate') spelled.clear();
    const isUpper = spelled.get(statement.key) ?? statement.isUpper;
    if (statement.kind === 'put') spelled.set(statement.key, isUpper);
    if (statement.kind === 'delete') spelled.delete(statement.key);
    return { ...statement, isUpper };
  });
}

function partitionOf(plan: Plan, { index, time }: Delivery): number {
  const statement = plan[index];
  if (statement === undefined) return 0;
  const { kind, table, key, isUpper, partition } = statement;
  // Without a key a producer chooses one, each time anew.
  if (kind === 'truncate' || table === 'bag') return (partition + time) % partitions;
  return (key + (table === 'ci' && isUpper ? 1 : 0)) % partitions;
}

/** Which statement, and how often it was delivered before. */
interface Delivery {
  readonly index: number;
  readonly time: number;
}

/** Every delivery in the order in which the connector sends it; it begins at no place in the middle. */
function deliveries(plan: Plan): readonly Delivery[] {
  const indexes = plan.flatMap(({ again }, index) => {
    if (again === 0) return [index];
    const from = firstOf(plan, Math.max(index - again + 1, 0));
    return [index, ...Array.from({ length: index - from + 1 }, (_, i) => from + i)];
  });
  return indexes.map((index, nth) => {
    const time = indexes.slice(0, nth).filter((before) => before === index).length;
    return { index, time };
  });
}

/** The world of one run: what was sent so far, and what was read of it. */
async function play(
  plan: Plan,
  picks: readonly number[],
  marked: boolean,
  restartAt: number | null,
): Promise<{ readonly rows: Rows; readonly complete: boolean; readonly offsets: OffsetMap }> {
  const log = new Map<string, DecodedRecord[]>();
  const sent = deliveries(plan);
  const lane = (key: string): DecodedRecord[] => {
    const found = log.get(key) ?? [];
    log.set(key, found);
    return found;
  };
  let next = 0;
  const send = (): void => {
    const delivery = sent[next];
    if (delivery === undefined) return;
    next += 1;
    const topic = `p.public.${plan[delivery.index]?.table ?? ''}`;
    const target = lane(partitionKey(topic, partitionOf(plan, delivery)));
    const event = eventOf(plan, delivery, target.length, marked);
    target.push(event);
    if (!marked || event.transaction === null) return;
    const { id } = event.transaction;
    lane(BOUNDARIES).push(boundary('begin', id, lane(BOUNDARIES).length));
    const counts = { [`public.${event.table.name}`]: 1 };
    lane(BOUNDARIES).push(boundary('end', id, lane(BOUNDARIES).length, counts));
  };
  const endsNow = (): OffsetMap =>
    new Map(
      ['t', 'u', 'bag', 'ci'].flatMap((table) =>
        Array.from({ length: partitions }, (_, partition) => {
          const key = partitionKey(`p.public.${table}`, partition);
          return [key, BigInt(log.get(key)?.length ?? 0)] as const;
        }),
      ),
    );
  const offsets = new Map<string, bigint>();
  const rows: Rows = new Map();
  const delivered: string[] = [];
  /** As apply/late-truncate.ts reads them again: what went, and was written after it and the last that went. */
  const rowsAfter = ({ at, source }: ChangeEvent): readonly ChangeEvent[] => {
    const after = [...log]
      .filter(([key]) => key.startsWith(`${at.topic}/`))
      .flatMap(([key, records]) => records.slice(0, Number(offsets.get(key) ?? 0n)))
      .filter((record) => record.kind === 'change')
      .filter((record) => compare(source, record.source) === 'before')
      .toSorted((a, b) => (compare(a.source, b.source) === 'before' ? -1 : 1));
    const seen = new Set<string>();
    return after
      .slice(after.findLastIndex(({ op }) => op === 'truncate') + 1)
      .filter(({ transaction }) => {
        if (transaction === null) return true;
        const place = `${transaction.id} ${String(transaction.totalOrder)}`;
        return !seen.has(place) && seen.add(place);
      });
  };
  let now = 0;
  let complete = true;
  const start = (): { assembler: TransactionAssembler; read: Map<string, number> } => ({
    assembler: new TransactionAssembler({
      mode: marked ? 'transaction' : 'key',
      isSubscribed: () => true,
      now: () => (now += 10),
      stallLimitMs: 1e9,
      delivered,
      sourceOrder: {
        isBefore: (a: SourcePosition, b: SourcePosition) => compare(a, b) === 'before',
        ends: () => Promise.resolve(endsNow()),
        from: new Map(offsets),
        transactionsToo: marked,
        goesOn: offsets.size > 0,
        isBarrier: SPREAD.isBarrier,
      },
      seconds: new SecondDeliveries({ compareInLog, spreadOf: SPREAD.spreadOf }, delivered),
    }),
    read: new Map([...offsets].map(([key, offset]) => [key, Number(offset)])),
  });
  let { assembler, read } = start();
  for (let turn = 0, quiet = 0; quiet < 40; turn += 1) {
    if (turn === restartAt) ({ assembler, read } = start());
    const pick = picks[turn % picks.length] ?? 0;
    if (pick > 5) send();
    const open = [...log].filter(([key, { length }]) => (read.get(key) ?? 0) < length);
    if (open.length === 0) send();
    const [key, records] = open[pick % Math.max(open.length, 1)] ?? [];
    const record = key === undefined ? undefined : records?.[read.get(key) ?? 0];
    if (key !== undefined && record !== undefined) {
      read.set(key, (read.get(key) ?? 0) + 1);
      assembler.push(record);
    }
    quiet = record === undefined && next >= sent.length ? quiet + 1 : 0;
    // Time in which what waits for quiet only goes on.
    if (quiet > 0) now += 1_000;
    for (let release = assembler.take(); release !== undefined; release = assembler.take()) {
      complete &&= release.complete;
      for (const change of release.changes) apply(rows, change);
      const [late] = release.isLate === true ? release.changes : [];
      if (late !== undefined) for (const change of rowsAfter(late)) apply(rows, change);
      delivered.push(...(release.notes ?? []), ...(release.places?.values() ?? []));
      for (const [partition, offset] of release.offsets) offsets.set(partition, offset);
    }
    await Promise.resolve();
  }
  expect(assembler.held()).toMatchObject({ events: 0, bytes: 0 });
  for (const [key, { length }] of log) expect(offsets.get(key)).toBe(BigInt(length));
  return { rows, complete, offsets };
}

function serial(plan: Plan): Rows {
  const rows: Rows = new Map();
  plan.forEach((_, index) => {
    apply(rows, eventOf(plan, { index, time: 0 }, 0, false));
  });
  return rows;
}

const picking = fc.array(fc.nat(9), { minLength: 1, maxLength: 60 });

test.each([
  ['per key', false],
  ['of transactions that truncates are not part of', true],
])('truncates lie between the rows of all partitions as in production: %s', async (_, marked) => {
  await fc.assert(
    fc.asyncProperty(statements, picking, async (plan, picks) => {
      const { rows, complete } = await play(plan, picks, marked, null);
      expect(Object.fromEntries(rows)).toEqual(Object.fromEntries(serial(plan)));
      expect(complete).toBe(true);
    }),
    { numRuns: 400 },
  );
});

/** When the follower starts anew, if it does. */
const restarts = fc.option(fc.nat(60));

test.each(['ci', 'bag'] as const)(
  'rows of %s that lie in several partitions come and go as in production',
  async (table) => {
    await fc.assert(
      fc.asyncProperty(statementsOn(table), picking, restarts, async (plan, picks, restartAt) => {
        const spelled = asSpelled(plan);
        const { rows, complete } = await play(spelled, picks, false, restartAt);
        expect(Object.fromEntries(rows)).toEqual(Object.fromEntries(serial(spelled)));
        expect(complete).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  },
);

test('a follower that starts anew in the middle comes to the same rows', async () => {
  await fc.assert(
    fc.asyncProperty(statements, picking, fc.nat(60), async (plan, picks, restartAt) => {
      const once = plan.map((statement) => ({ ...statement, again: 0 }));
      const { rows } = await play(once, picks, false, restartAt);
      expect(Object.fromEntries(rows)).toEqual(Object.fromEntries(serial(once)));
    }),
    { numRuns: 300 },
  );
});

test.each([
  ['one partition, per key', 1, false],
  ['one partition, in transactions', 1, true],
  ['several partitions, in transactions', 3, true],
] as const)(
  'so does one to whom a connector sends again what was applied before: %s',
  async (_, many, marked) => {
    partitions = many;
    try {
      await fc.assert(
        fc.asyncProperty(statements, picking, fc.nat(60), async (plan, picks, restartAt) => {
          const { rows } = await play(plan, picks, marked, restartAt);
          expect(Object.fromEntries(rows)).toEqual(Object.fromEntries(serial(plan)));
        }),
        { numRuns: 1000 },
      );
    } finally {
      partitions = 3;
    }
  },
);
