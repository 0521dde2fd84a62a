import { expect, test } from 'vitest';
import { HandOver, isHandedOver } from '../../../src/bootstrap/hand-over.ts';
import type { RowChange } from '../../../src/change/record.ts';
import type { CopiedTable } from '../../../src/dialect/copying.ts';
import { parseSnapshot as parseBinlogSnapshot } from '../../../src/dialect/mysql/production/binlog-view.ts';
import { parseSnapshot } from '../../../src/dialect/postgres/production/snapshot.ts';
import { boundary, changeEvent, textTable, unread } from '../../support/change-events.ts';

const PART = {
  ...textTable('part_1', ['id']),
  partitionOf: { schema: 'public', name: 'part' },
};
const CATALOGUE = new Map([
  ['public.t', textTable('t', ['id'])],
  ['public.u', textTable('u', ['id'])],
  ['public.part', textTable('part', ['id'])],
  ['public.part_1', PART],
]);

const copied = (name: string, snapshot: string, marker: bigint): CopiedTable => ({
  table: { schema: 'public', name },
  ...{ snapshot, marker, done: true, ranges: 1, rangesDone: 1, rows: 1, bytes: 1, bytesDone: 1 },
});

const ENDS = new Map([
  ['p.public.t/0', 100n],
  ['p.public.u/0', 100n],
  ['p.public.part_1/0', 100n],
  ['p.transaction/0', 100n],
]);

const handOver = (tables: readonly CopiedTable[]): HandOver =>
  new HandOver({ ends: ENDS, tables, catalogue: CATALOGUE, snapshotView: parseSnapshot });

/** One snapshot: it sees 99, 101 to 103, and neither 100 nor 104. */
const one = handOver(['t', 'u', 'part'].map((name) => copied(name, '100:104:100', 1_000n)));
/** Of these alone; table u is followed as ever. */
const some = handOver(['t', 'part'].map((name) => copied(name, '100:104:100', 1_000n)));
/** Table u was copied later. */
const two = handOver([copied('t', '100:104:100', 1_000n), copied('u', '110:110:', 2_000n)]);

function change(
  tx: number,
  parts: Partial<RowChange> & { readonly name?: string; readonly offset?: number } = {},
): RowChange {
  const { name = 't', offset = 5, ...rest } = parts;
  const made = changeEvent({
    ...{ op: 'update', table: name, offset, lsn: 900n },
    tx: { id: String(tx), totalOrder: 1 },
  });
  return { ...made, ...rest };
}

const kinds = (by: HandOver, changes: readonly RowChange[]): string[] =>
  changes.map((event) => by.screen(event).kind);

test('transactions that the snapshot saw are passed over with their boundaries', () => {
  expect(
    kinds(
      one,
      [99, 100, 101, 103, 104].map((tx) => change(tx)),
    ),
  ).toEqual([...['ignored', 'change', 'ignored', 'ignored', 'change']]);
  expect(one.screen(boundary('begin', '99', 5)).kind).toBe('ignored');
  expect(one.screen(boundary('end', '99', 5)).kind).toBe('ignored');
  expect(one.screen(boundary('end', '100', 5)).kind).toBe('end');
});

test('a truncate is passed over like a change, a partition’s change by its root’s snapshot', () => {
  expect(kinds(one, [change(99, { op: 'truncate' }), change(100, { op: 'truncate' })])).toEqual([
    ...['ignored', 'change'],
  ]);
  expect(kinds(one, [change(99, { name: 'part_1' }), change(104, { name: 'part_1' })])).toEqual([
    ...['ignored', 'change'],
  ]);
});

test('behind the ends, and behind the marker, nothing is passed over', () => {
  expect(kinds(one, [change(99, { offset: 100 }), change(99, { offset: 99 })])).toEqual([
    ...['change', 'ignored'],
  ]);
  // An id of two billion transactions later, which looks like one that the snapshot saw.
  const later = change(99);
  expect(kinds(one, [{ ...later, source: { ...later.source, lsn: 1_000n } as never }])).toEqual([
    'change',
  ]);
  expect(one.screen(boundary('end', '99', 100)).kind).toBe('end');
  const unknown = change(99, { at: { topic: 'p.public.new', partition: 0, offset: 0n } });
  expect(kinds(one, [unknown])).toEqual(['change']);
});

test('what only one of two snapshots saw stays whole, and then loses that table’s changes', () => {
  const both = [change(104), change(104, { name: 'u' })];
  expect(kinds(two, both)).toEqual(['change', 'change']);
  const release = {
    ...{ changes: both, offsets: new Map(), transactionId: '104', complete: true, bytes: 200 },
  };
  expect(two.trim(release)).toEqual({ ...release, changes: [both[0]] });
  expect(kinds(two, [change(99), change(99, { name: 'u' })])).toEqual(['ignored', 'ignored']);
  expect(two.screen(boundary('end', '104', 5)).kind).toBe('end');
});

test('what could not be read stops before the ends, where the copy may have it, and not behind', () => {
  expect(() => one.screen(unread(change(99)))).toThrow('damaged');
  expect(() => one.screen(unread(change(104)))).toThrow('damaged');
  expect(one.screen(unread(change(99, { at: { ...change(99).at, offset: 100n } }))).kind).toBe(
    'change',
  );
});

test('rows of a connector’s snapshot that was read before the marker are passed over', () => {
  const read = (lsn: bigint | null, snapshot: 'initial' | 'incremental'): RowChange => {
    const event = change(99, { op: 'read', snapshot, transaction: null });
    return { ...event, source: { ...event.source, lsn, txId: 99 } as never };
  };
  expect(
    kinds(one, [
      ...[read(999n, 'initial'), read(1_000n, 'initial'), read(null, 'initial')],
      read(null, 'incremental'),
    ]),
  ).toEqual(['ignored', 'change', 'ignored', 'ignored']);
});

test('of some tables, what the snapshot saw goes on without them, a whole of the others', () => {
  const all = [99, 104].flatMap((tx) => ['t', 'part_1', 'u'].map((name) => change(tx, { name })));
  expect(kinds(some, all)).toEqual([
    ...['ignored', 'ignored', 'change'],
    ...['change', 'change', 'change'],
  ]);
  const counts = { 'public.t': 2, 'public.part_1': 1, 'public.u': 3 };
  expect(some.screen(boundary('begin', '99', 5)).kind).toBe('begin');
  expect(some.screen(boundary('end', '99', 5, counts))).toMatchObject({
    ...{ kind: 'end', counts: new Map([['public.u', 3n]]) },
  });
  const whole = boundary('end', '104', 5, counts);
  expect(some.screen(whole)).toBe(whole);
  const behind = boundary('end', '99', 100, counts);
  expect(some.screen(behind)).toBe(behind);
});

test('of some tables, what cannot be read of another is no matter of the copy', () => {
  expect(some.screen(unread(change(99, { name: 'u' }))).kind).toBe('change');
  expect(() => some.screen(unread(change(99)))).toThrow('damaged');
});

test('a table that was not copied loses nothing', () => {
  expect(
    two.trim({
      ...{ changes: [change(99, { name: 'part_1' })], offsets: new Map(), transactionId: null },
      ...{ complete: true, bytes: 100 },
    }).changes,
  ).toHaveLength(1);
});

test('a change that does not say its transaction is no guess', () => {
  const event = change(99);
  const blank = { ...event, source: { ...event.source, txId: null } as never };
  expect(() => one.screen(blank)).toThrow(/does not say its transaction/);
});

test('the hand-over lies behind when every partition has passed its end', () => {
  const ends = new Map([
    ['a/0', 3n],
    ['b/0', 0n],
  ]);
  expect(isHandedOver(ends, new Map([['a/0', 2n]]))).toBe(false);
  expect(isHandedOver(ends, new Map([['a/0', 3n]]))).toBe(true);
});

test('what a snapshot saw by its GTIDs is passed over, though another server’s places are further', () => {
  const uuid = '3e11fa47-71ca-11e1-9e33-c80aa9429562';
  const copy = new HandOver({
    ...{ ends: ENDS, catalogue: CATALOGUE, snapshotView: parseBinlogSnapshot },
    tables: [copied('t', `bin.000003:157 ${uuid}:1-5`, 100n)],
  });
  const at = (gtid: string): RowChange =>
    change(1, {
      source: { connector: 'mysql', file: 'bin.000900', pos: 4n, row: 0, gtid } as never,
    });
  expect(kinds(copy, [at(`${uuid}:5`), at(`${uuid}:6`)])).toEqual(['ignored', 'change']);
});
