import { beforeEach, describe, expect, test } from 'vitest';
import { TransactionAssembler } from '../../../src/order/assembler.ts';
import type { Release } from '../../../src/order/release.ts';
import { UnderstudyError } from '../../../src/errors/understudy-error.ts';
import { boundary, changeEvent, image, unread } from '../../support/change-events.ts';

let now = 0;
let assembler: TransactionAssembler;

beforeEach(() => {
  now = 0;
  assembler = make('transaction');
});

function make(
  mode: 'transaction' | 'key',
  delivered: readonly string[] = [],
): TransactionAssembler {
  return new TransactionAssembler({
    mode,
    delivered,
    isSubscribed: (collection) => collection === 'public.t',
    stallLimitMs: 60_000,
    now: () => now,
  });
}

function event(id: string, totalOrder: number, partition: number, offset: number, lsn = 0n) {
  const key = image({ id: `${id}/${totalOrder}/${lsn}` });
  const tx = { id, totalOrder };
  return changeEvent({ op: 'create', partition, offset, key, after: key, tx, lsn });
}

/** All releases there are, asking as often as an applier would. */
function drain(): readonly Release[] {
  const releases: Release[] = [];
  for (let next = assembler.take(); next !== undefined; next = assembler.take()) {
    releases.push(next);
  }
  return releases;
}

/** Lets time pass while the applier keeps asking. */
function wait(ms: number): readonly Release[] {
  const releases: Release[] = [];
  for (const end = now + ms; now < end; now += 250) releases.push(...drain());
  return [...releases, ...drain()];
}

describe('a transaction', () => {
  test('waits for its END and for all its events, and leads its topic along', () => {
    assembler.push(boundary('begin', '1', 0));
    assembler.push(event('1', 2, 1, 0));
    expect(drain()).toEqual([]);
    assembler.push(boundary('end', '1', 1, { 'public.t': 2 }));
    expect(drain()).toEqual([]);
    assembler.push(event('1', 1, 0, 0));
    const [release] = drain();
    expect(release?.changes.map((change) => change.transaction?.totalOrder)).toEqual([1n, 2n]);
    expect(release?.complete).toBe(true);
    expect([...(release?.offsets ?? [])].toSorted(([a], [b]) => a.localeCompare(b))).toEqual([
      ['p.public.t/0', 1n],
      ['p.public.t/1', 1n],
      ['p.transaction/0', 2n],
    ]);
  });

  test('is released before what stands behind it, tombstones moving only the position', () => {
    assembler.push(event('1', 1, 0, 0));
    assembler.push({
      kind: 'tombstone',
      at: { topic: 'p.public.t', partition: 0, offset: 1n },
      eventTimeMs: null,
    });
    assembler.push(changeEvent({ op: 'read', partition: 0, offset: 2 }));
    assembler.advance('p.public.t', 0, 7n);
    assembler.push(boundary('begin', '1', 0));
    assembler.push(boundary('end', '1', 1, { 'public.t': 1 }));
    const [first, second] = drain();
    expect(first?.offsets.get('p.public.t/0')).toBe(2n);
    expect(second?.offsets.get('p.public.t/0')).toBe(7n);
  });

  test('whose events never come is let go in the open, and does not hold the next one up', () => {
    assembler.push(boundary('begin', '1', 0));
    assembler.push(event('1', 1, 0, 0));
    assembler.push(boundary('end', '1', 1, { 'public.t': 2 }));
    assembler.push(boundary('begin', '2', 2));
    assembler.push(event('2', 1, 0, 1));
    assembler.push(boundary('end', '2', 3, { 'public.t': 1 }));
    expect(wait(59_000)).toEqual([]);
    expect(assembler.held()).toMatchObject({ transactions: 2, events: 2, oldestSinceMs: 0 });
    const releases = wait(2_000);
    expect(releases.map(({ transactionId, complete }) => [transactionId, complete])).toEqual([
      ['1', false],
      ['2', true],
    ]);
  });

  test('does not wait for what was passed over of a table of before, whose name another one has', () => {
    assembler.push(boundary('begin', '1', 0));
    const at = { topic: 'p.public.t', partition: 1, offset: 0n };
    const passedOver = { transaction: '1', collection: 'public.t' };
    assembler.push(boundary('end', '1', 1, { 'public.t': 1 }));
    assembler.push(boundary('begin', '2', 2));
    assembler.push(event('2', 1, 0, 0));
    assembler.push(boundary('end', '2', 3, { 'public.t': 1 }));
    expect(drain()).toEqual([]);
    assembler.push({ kind: 'ignored', at, eventTimeMs: null, passedOver });
    expect(drain()).toMatchObject([{ transactionId: '2', complete: true }]);
    // Of another one its records are waited for.
    assembler.push(boundary('end', '3', 4, { 'public.t': 1 }));
    assembler.push(boundary('end', '4', 5, {}));
    expect(drain()).toEqual([]);
    assembler.push(event('3', 1, 0, 1));
    expect(drain()).toMatchObject([{ transactionId: '3', complete: true }, {}]);
  });

  test('that is late does not go with its END when a frozen applier comes back', () => {
    assembler.push(boundary('end', '1', 0, { 'public.t': 1 }));
    expect(drain()).toEqual([]);
    now += 600_000;
    expect(drain()).toEqual([]);
    assembler.push(event('1', 1, 0, 0));
    expect(drain()).toMatchObject([{ transactionId: '1', complete: true }]);
  });

  test('without any END is let go after the limit', () => {
    assembler.push(event('1', 1, 0, 0));
    expect(wait(59_000)).toEqual([]);
    expect(wait(2_000)).toMatchObject([{ transactionId: '1', complete: false }]);
    assembler.push(event('1', 2, 0, 1));
    expect(drain()).toMatchObject([{ transactionId: '1', complete: false }]);
  });

  test('without END is let go at once when another one begins', () => {
    assembler.push(boundary('begin', '1', 0));
    assembler.push(event('1', 1, 0, 0));
    assembler.push(boundary('begin', '2', 1));
    expect(drain()).toMatchObject([{ transactionId: '1', complete: false }]);
  });

  test('is whole only after what stands before it, whose END was passed already', () => {
    assembler.push(event('1', 1, 0, 0));
    assembler.push(boundary('begin', '2', 0));
    assembler.push(event('2', 1, 0, 1));
    assembler.push(boundary('end', '2', 1, { 'public.t': 1 }));
    const releases = drain();
    expect(releases.map(({ transactionId, complete }) => [transactionId, complete])).toEqual([
      ['1', false],
      ['2', true],
    ]);
    expect(releases[1]?.changes).toHaveLength(1);
  });

  test('of only other tables passes at once', () => {
    assembler.push(boundary('begin', '1', 0));
    assembler.push(boundary('end', '1', 1, { 'public.other': 9 }));
    expect(drain()).toMatchObject([{ changes: [], transactionId: null, complete: true }]);
  });

  test('can be let go on demand', () => {
    assembler.push(event('1', 1, 0, 0));
    expect(drain()).toEqual([]);
    assembler.degrade();
    expect(drain()).toMatchObject([{ transactionId: '1', complete: false }]);
  });
});

describe('a connector that was restarted', () => {
  test('inside a transaction: each event once, after a quiet time, and not called complete', () => {
    assembler.push(boundary('begin', '1', 0));
    assembler.push(event('1', 1, 0, 0, 10n));
    assembler.push(boundary('begin', '1', 1));
    const again = event('1', 1, 0, 1, 10n);
    assembler.push({ ...again, key: image({ id: '1/1/10' }) });
    assembler.push(event('1', 2, 1, 0, 20n));
    assembler.push(boundary('end', '1', 2, { 'public.t': 2 }));
    expect(drain()).toEqual([]);
    const releases = wait(6_000);
    expect(releases).toMatchObject([{ transactionId: '1', complete: false, bytes: 300 }]);
    expect(releases[0]?.changes).toHaveLength(2);
  });

  test('delivers again what a former process applied: it is passed over, its place is not', () => {
    assembler = make('transaction', ['1']);
    assembler.push(boundary('begin', '1', 5));
    assembler.push(event('1', 1, 0, 7));
    assembler.push(boundary('end', '1', 6, { 'public.t': 1 }));
    const [release] = drain();
    expect(release).toMatchObject({ changes: [], transactionId: '1', complete: true });
    expect(release?.offsets.get('p.public.t/0')).toBe(8n);
  });

  test('delivers whole transactions again: they are passed over', () => {
    for (const offset of [0, 1]) {
      assembler.push(boundary('begin', '1', 2 * offset));
      assembler.push(event('1', 1, 0, offset));
      assembler.push(boundary('end', '1', 2 * offset + 1, { 'public.t': 1 }));
    }
    const releases = drain();
    const went = new Map(releases.flatMap(({ offsets }) => [...offsets]));
    expect(releases.flatMap(({ changes }) => changes)).toHaveLength(1);
    expect(releases.every(({ complete }) => complete)).toBe(true);
    expect(went.get('p.public.t/0')).toBe(2n);
    expect(assembler.held()).toMatchObject({ transactions: 0, events: 0 });
  });
});

describe('a transaction that is torn, and delivered again before the limit', () => {
  const values = (releases: readonly Release[]) =>
    releases.map(({ changes, complete }) => [
      changes.map(({ transaction, source }) => [
        Number(transaction?.totalOrder),
        'lsn' in source ? Number(source.lsn) : null,
      ]),
      complete,
    ]);
  const keyed = (order: number, partition: number, offset: number, place: number) => ({
    ...event('1', order, partition, offset, BigInt(place)),
    key: image({ id: `k${String(place)}` }),
    after: image({ id: `k${String(place)}` }),
  });

  test('goes with what stands behind the repeated event', () => {
    assembler.push(boundary('begin', '1', 0));
    assembler.push(boundary('end', '1', 1, { 'public.t': 2 }));
    assembler.push(keyed(1, 0, 0, 10));
    assembler.push(keyed(1, 0, 1, 10));
    assembler.push(keyed(2, 0, 2, 20));
    expect(drain()).toEqual([]);
    assembler.push(boundary('begin', '1', 2));
    assembler.push(boundary('end', '1', 3, { 'public.t': 2 }));
    const places = [
      [1, 10],
      [2, 20],
    ];
    expect(values(wait(6_000))).toEqual([[places, false]]);
    expect(assembler.held()).toMatchObject({ transactions: 0, events: 0, bytes: 0 });
  });

  test('is not taken for whole when numbers that started anew fill its counts', () => {
    assembler.push(boundary('begin', '1', 0));
    assembler.push(boundary('end', '1', 1, { 'public.t': 3 }));
    // The second event was lost; the connector goes on with it, as number one.
    assembler.push(keyed(1, 0, 0, 10));
    assembler.push(keyed(3, 2, 0, 30));
    assembler.push(boundary('begin', '1', 2));
    assembler.push(keyed(1, 1, 0, 20));
    assembler.push(keyed(2, 2, 1, 30));
    assembler.push(boundary('end', '1', 3, { 'public.t': 2 }));
    const places = [
      [1, 10],
      [1, 20],
      [3, 30],
    ];
    expect(values(wait(6_000))).toEqual([[places, false]]);
  });

  test('whose numbers do not follow the log goes in the order of the log', () => {
    // Two events before these are of a table that nobody reads.
    assembler.push(boundary('begin', '1', 0));
    assembler.push(boundary('end', '1', 1, { 'public.t': 2, 'public.other': 2 }));
    assembler.push(keyed(3, 0, 0, 30));
    assembler.push(keyed(1, 1, 0, 40));
    const places = [
      [3, 30],
      [1, 40],
    ];
    expect(values(drain())).toEqual([[places, true]]);
  });
});

describe('a compressed transaction of the binlog, whose events share a place', () => {
  const compressed = (order: number, row: number, offset: number, v: string) => ({
    ...event('1', order, 0, offset),
    ...{ key: image({ id: String(row) }), after: image({ id: String(row), v }) },
    source: {
      ...({ connector: 'mysql', gtid: 'g:1', file: 'binlog.1', pos: 951n, row } as const),
    },
  });
  const fill = (): void => {
    assembler.push(compressed(1, 0, 0, 'a'));
    assembler.push(compressed(2, 0, 1, 'b'));
    assembler.push(compressed(3, 1, 2, 'c'));
    assembler.push(compressed(4, 0, 3, 'a'));
  };
  const told = (releases: readonly Release[]) =>
    releases.map(({ changes, complete }) => [
      changes.map(({ after }) => after?.values[1]).join(''),
      complete,
    ]);

  test('goes whole, in its order', () => {
    fill();
    assembler.push(boundary('end', '1', 0, { 'public.t': 4 }));
    expect(told(drain())).toEqual([['abca', true]]);
  });

  test('goes with every change of a row when it has no END', () => {
    assembler.push(boundary('begin', '1', 0));
    fill();
    assembler.push(boundary('begin', '2', 1));
    expect(told(wait(61_000)).filter(([values]) => values !== '')).toEqual([['abca', false]]);
  });

  test('goes once when it comes twice', () => {
    assembler.push(boundary('begin', '1', 0));
    fill();
    assembler.push(boundary('begin', '1', 1));
    assembler.push(compressed(1, 0, 4, 'a'));
    assembler.push(boundary('end', '1', 2, { 'public.t': 4 }));
    expect(told(wait(6_000))).toEqual([['abca', false]]);
  });
});

test('a transaction that was given up before any event of it came is known to a new process', () => {
  assembler.push(boundary('begin', '1', 0));
  assembler.push(boundary('end', '1', 1, { 'public.t': 2 }));
  const notes = wait(61_000).flatMap((release) => release.notes ?? []);
  assembler = make('transaction', notes);
  // The connector comes back inside of it: its numbers, and the counts of its END, begin anew.
  const numbered = (order: number, partition: number, offset: number, place: number) => {
    const key = image({ id: String(place) });
    return { ...event('1', order, partition, offset, BigInt(place)), key, after: key };
  };
  assembler.push(boundary('begin', '1', 2));
  assembler.push(boundary('end', '1', 3, { 'public.t': 1 }));
  assembler.push(numbered(1, 0, 0, 10));
  const first = drain();
  assembler.push(numbered(2, 1, 0, 20));
  assembler.push(numbered(1, 1, 1, 20));
  const all = [...first, ...drain()];
  expect(
    all.flatMap(({ changes, complete }) =>
      changes.map(({ key }) => [Number(key?.values[0]), complete]),
    ),
  ).toEqual([
    [10, false],
    [20, false],
  ]);
});

test('a second delivery of which a part was passed before is not waited for', () => {
  assembler = make('transaction', ['1']);
  // Its other event is before the position, where following begins.
  assembler.push(event('1', 2, 0, 7));
  assembler.push(boundary('end', '1', 4, { 'public.t': 2 }));
  assembler.push(event('2', 1, 0, 8));
  assembler.push(boundary('end', '2', 5, { 'public.t': 1 }));
  const told = drain().map(({ changes, complete }) => [changes.length, complete]);
  expect(told).toEqual([
    [0, true],
    [1, true],
  ]);
  expect(assembler.held()).toMatchObject({ transactions: 0, events: 0 });
});

describe('a change that could not be read', () => {
  const damaged = (offset: number) => unread(event('?', 1, 0, offset));
  const told = (releases: readonly Release[]) =>
    releases.map(({ changes, complete, transactionId }) => [
      changes.map(({ at }) => Number(at.offset)),
      ...[transactionId, complete],
    ]);

  test('holds its transaction not up, which goes in its order and is not called complete', () => {
    assembler.push(event('1', 1, 0, 0));
    assembler.push(damaged(1));
    assembler.push(event('1', 3, 0, 2));
    expect(drain()).toEqual([]);
    assembler.push(boundary('end', '1', 0, { 'public.t': 3 }));
    assembler.push(event('2', 1, 0, 3));
    assembler.push(boundary('end', '2', 1, { 'public.t': 1 }));
    const releases = drain();
    expect(told(releases)).toEqual([
      [[0], '1', false],
      [[1], null, true],
      [[2], '1', false],
      [[3], '2', true],
    ]);
  });

  test('whose transaction is known goes with it, whole, and a new process does not wait for it', () => {
    const known = { ...damaged(1), transaction: { id: '1', totalOrder: 2n } };
    assembler.push(event('1', 1, 0, 0));
    assembler.push(known);
    expect(drain()).toEqual([]);
    assembler.push(boundary('end', '1', 0, { 'public.t': 2 }));
    expect(told(drain())).toEqual([[[0, 1], '1', true]]);
    // Alone in it, and first of all in its partition: nothing of it goes ahead of its END.
    assembler.push({ ...damaged(2), transaction: { id: '2', totalOrder: 1n } });
    expect(drain()).toEqual([]);
    assembler.push(boundary('end', '2', 1, { 'public.t': 1 }));
    expect(told(drain())).toEqual([[[2], '2', true]]);
  });

  test('that is all there is of a transaction leaves it nothing to wait for', () => {
    assembler.push(damaged(0));
    expect(told(drain())).toEqual([[[0], null, true]]);
    assembler.push(boundary('end', '1', 0, { 'public.t': 1 }));
    expect(told(drain())).toEqual([[[], '1', false]]);
    expect(assembler.held()).toMatchObject({ transactions: 0, events: 0 });
  });

  test('that is of no transaction loses none of those around it', () => {
    assembler.push(event('1', 1, 0, 0));
    assembler.push(damaged(1));
    assembler.push(event('1', 2, 0, 2));
    assembler.push(boundary('end', '1', 0, { 'public.t': 2 }));
    expect(drain().flatMap(({ changes }) => changes.map(({ at }) => Number(at.offset)))).toEqual([
      0, 1, 2,
    ]);
  });

  test('is missed by no transaction of after a whole one behind it', () => {
    assembler.push(damaged(0));
    assembler.push(event('1', 1, 0, 1));
    assembler.push(boundary('end', '1', 0, { 'public.t': 1 }));
    expect(told(drain())).toEqual([
      [[0], null, true],
      [[1], '1', true],
    ]);
    assembler.push(event('2', 1, 0, 2));
    assembler.push(boundary('end', '2', 1, { 'public.t': 2 }));
    expect(wait(59_000)).toEqual([]);
    assembler.push(event('2', 2, 1, 0));
    expect(told(drain())).toEqual([[[2, 0], '2', true]]);
  });

  test('of one that was given up and comes again is missed by no later one', () => {
    for (const offset of [0, 3]) {
      assembler.push(event('1', 1, 0, offset));
      assembler.push(damaged(offset + 1));
      assembler.push(event('1', 3, 0, offset + 2));
      assembler.push(boundary('end', '1', offset, { 'public.t': 3 }));
      drain();
    }
    assembler.push(event('2', 1, 0, 6));
    assembler.push(boundary('end', '2', 4, { 'public.t': 2 }));
    expect(wait(10_000)).toEqual([]);
    assembler.push(event('2', 2, 1, 0));
    expect(told(drain())).toEqual([[[6, 0], '2', true]]);
  });

  test('makes up for no more events than it is', () => {
    assembler.push(damaged(0));
    assembler.push(event('1', 1, 0, 1));
    assembler.push(boundary('end', '1', 0, { 'public.t': 3 }));
    expect(told(wait(59_000))).toEqual([[[0], null, true]]);
    assembler.push(event('1', 2, 1, 0));
    expect(told(drain())).toEqual([[[1, 0], '1', false]]);
  });
});

test('by key, every change goes at once and boundaries only move', () => {
  assembler = make('key');
  assembler.push(event('1', 1, 0, 0));
  assembler.push(boundary('begin', '1', 0));
  const [release] = drain();
  expect(release).toMatchObject({ transactionId: null, complete: true });
  expect(release?.offsets.get('p.transaction/0')).toBe(1n);
});

test('a transaction topic of several partitions is refused', () => {
  assembler.push(boundary('begin', '1', 0));
  const end = boundary('end', '1', 0);
  expect(() => {
    assembler.push({ ...end, at: { ...end.at, partition: 1 } });
  }).toThrow(UnderstudyError);
});
