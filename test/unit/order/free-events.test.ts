import { expect, test } from 'vitest';
import { partitionKey } from '../../../src/change/position.ts';
import type { ChangeEvent } from '../../../src/change/record.ts';
import { isHalf } from '../../../src/order/key-changes.ts';
import { TransactionAssembler, type AssemblerOptions } from '../../../src/order/assembler.ts';
import { changeEvent, image } from '../../support/change-events.ts';

const TOPIC = 'p.public.t';
let now = 0;

function assembler(more: Partial<AssemblerOptions> = {}): TransactionAssembler {
  now = 0;
  return new TransactionAssembler({
    ...{ mode: 'key', isSubscribed: () => true, pairs: true, now: () => now },
    ...more,
  });
}

const id = (key: string) => image({ id: key });
const at = (partition: number, offset: number, lsn: number) => ({
  ...{ topic: TOPIC, partition, offset, lsn: BigInt(lsn) },
});

const gone = (place: ReturnType<typeof at>, key: string, to: string): ChangeEvent =>
  changeEvent({ ...place, op: 'delete', key: id(key), newKey: id(to) });
const come = (place: ReturnType<typeof at>, key: string, from: string): ChangeEvent =>
  changeEvent({ ...place, op: 'create', key: id(key), after: id(key), oldKey: id(from) });
const other = (place: ReturnType<typeof at>, key: string): ChangeEvent =>
  changeEvent({ ...place, op: 'update', key: id(key), after: id(key) });

/** What goes, as `op key`. */
function taken(from: TransactionAssembler): string[] {
  const all: string[] = [];
  for (let release = from.take(); release !== undefined; release = from.take()) {
    for (const { op, key } of release.changes) all.push(`${op} ${String(key?.values[0])}`);
  }
  return all;
}

test('halves of a key change go together, the delete first, whichever came first', () => {
  const order = assembler();
  order.push(come(at(1, 0, 5), 'b', 'a'));
  order.push(other(at(0, 0, 1), 'a'));
  expect(taken(order)).toEqual(['update a']);
  order.push(gone(at(0, 1, 5), 'a', 'b'));
  expect(taken(order)).toEqual(['delete a', 'create b']);
});

test('a swap through a third key goes in production’s order, though its keys are in three partitions', () => {
  const order = assembler();
  // 1 → 3, 2 → 1, 3 → 2
  for (const event of [
    ...[gone(at(1, 0, 10), '1', '3'), come(at(1, 1, 11), '1', '2')],
    ...[gone(at(2, 0, 11), '2', '1'), come(at(2, 1, 12), '2', '3')],
    ...[come(at(3, 0, 10), '3', '1'), gone(at(3, 1, 12), '3', '2')],
  ]) {
    order.push(event);
  }
  expect(taken(order)).toEqual([
    ...['delete 1', 'create 3', 'delete 2', 'create 1', 'delete 3', 'create 2'],
  ]);
});

test('halves in one partition wait for nothing', () => {
  const order = assembler();
  order.push(gone(at(0, 0, 5), 'a', 'b'));
  order.push(come(at(0, 1, 5), 'b', 'a'));
  expect(taken(order)).toEqual(['delete a', 'create b']);
});

test('a half whose other does not come goes by itself after a while, not as complete, and keeps its offset till then', () => {
  const order = assembler();
  order.push(gone(at(0, 0, 5), 'a', 'b'));
  const ends = new Map([[partitionKey(TOPIC, 0), 1n]]);
  expect(taken(order)).toEqual([]);
  expect(order.waitsBefore(ends)).toBe(true);
  now = 5_000;
  expect(order.take()).toMatchObject({ complete: false, changes: [{ op: 'delete' }] });
  expect(order.waitsBefore(ends)).toBe(false);
});

test('a half whose other is known to be gone from the log is complete, after a while', async () => {
  /** What goes of these after the wait, and whether it is complete. */
  const waited = async (...events: readonly ChangeEvent[]): Promise<readonly unknown[]> => {
    const ends = new Map([0, 1].map((partition) => [partitionKey(TOPIC, partition), 0n]));
    for (const { at: place } of events) {
      ends.set(partitionKey(TOPIC, place.partition), place.offset + 1n);
    }
    const isBefore = (a: ChangeEvent['source'], b: ChangeEvent['source']): boolean =>
      'lsn' in a && 'lsn' in b && (a.lsn ?? 0n) < (b.lsn ?? 0n);
    const options = { isBefore, ends: () => Promise.resolve(ends), from: new Map() };
    const order = assembler({ sourceOrder: { ...options, transactionsToo: false } });
    for (const event of events) order.push(event);
    const went: unknown[] = [];
    for (let n = 0; n < 20; n += 1) {
      now = n * 500;
      const release = order.take();
      for (const change of release?.changes ?? []) {
        if (isHalf(change)) went.push([change.op, release?.complete, now >= 5_000]);
      }
      await Promise.resolve();
      await Promise.resolve();
    }
    return went;
  };
  const half = gone(at(0, 0, 5), 'a', 'b');
  const later = [other(at(0, 1, 8), 'x'), other(at(1, 0, 9), 'y')];
  expect(await waited(half, ...later)).toEqual([['delete', true, true]]);
  // The other partition may still bring its create, which was sent after it.
  expect(await waited(half, other(at(0, 1, 8), 'x'))).toEqual([['delete', false, true]]);
  // What was sent before a create has come.
  expect(await waited(come(at(1, 0, 5), 'b', 'a'))).toEqual([['create', true, true]]);
});

test('halves of which nobody knows the place go as they come', () => {
  const order = assembler();
  const place = at(0, 0, 5);
  const half = gone(place, 'a', 'b');
  const source = { connector: 'postgresql', lsn: null, lastCommitLsn: null, txId: null } as const;
  order.push({ ...half, source });
  expect(taken(order)).toEqual(['delete a']);
});

test('of deliveries made twice the first halves belong together', () => {
  const order = assembler();
  for (const offset of [0, 1]) {
    order.push(gone(at(0, offset, 5), 'a', 'b'));
    order.push(come(at(1, offset, 5), 'b', 'a'));
  }
  expect(taken(order)).toEqual(['delete a', 'create b', 'delete a', 'create b']);
});

test('who has some partitions only stops at a truncate and at a half whose other is not there', () => {
  const order = assembler({ isShared: true });
  order.push(other(at(0, 0, 1), 'a'));
  order.push(changeEvent({ ...at(0, 1, 2), op: 'truncate' }));
  order.push(other(at(0, 2, 3), 'a'));
  order.push(gone(at(1, 0, 4), 'b', 'c'));
  expect(taken(order)).toEqual(['update a']);
  expect(order.stuck).toMatchObject({ why: 'truncate', at: { partition: 0, offset: 1n } });

  const halves = assembler({ isShared: true });
  halves.push(gone(at(1, 0, 4), 'b', 'c'));
  expect(taken(halves)).toEqual([]);
  expect(halves.stuck).toBeNull();
  now = 300;
  expect(taken(halves)).toEqual([]);
  expect(halves.stuck).toMatchObject({ why: 'key-change', at: { partition: 1, offset: 0n } });
});

test('a truncate that somebody else has holds back what is after it, and nothing before', async () => {
  const ends = new Map([
    [partitionKey(TOPIC, 0), 4n],
    [partitionKey(TOPIC, 1), 3n],
  ]);
  const order = assembler({
    isShared: true,
    sourceOrder: {
      isBefore: (a, b) =>
        a.connector === 'postgresql' &&
        b.connector === 'postgresql' &&
        (a.lsn ?? 0n) < (b.lsn ?? 0n),
      ends: () => Promise.resolve(ends),
      from: new Map(),
      transactionsToo: false,
    },
  });
  order.push(other(at(0, 0, 10), 'before'));
  order.push(other(at(0, 1, 30), 'after'));
  order.advance(TOPIC, 0, 4n);
  taken(order);
  await Promise.resolve();
  await Promise.resolve();
  // Nobody knows yet what the other partition holds.
  expect(taken(order)).toEqual([]);
  const truncate = changeEvent({ ...at(1, 0, 20), op: 'truncate' });
  order.watched(partitionKey(TOPIC, 1), [truncate, other(at(1, 2, 40), 'x')], 3n);
  expect(taken(order)).toEqual(['update before']);
  // One that is not asked for long was held up itself: that is no stall.
  for (now = 0; now < 61_000; now += 4_000) expect(taken(order)).toEqual([]);
  expect(order.stuck?.why).toBe('order');
});
