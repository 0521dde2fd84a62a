import { expect, test } from 'vitest';
import { beyondTurn, type Turns } from '../../../src/order/ahead.ts';
import { Boundaries } from '../../../src/order/boundaries.ts';
import { Gathering } from '../../../src/order/gathering.ts';
import { Lane } from '../../../src/order/lane.ts';
import type { ChangeEvent } from '../../../src/change/record.ts';
import { boundary, changeEvent, image } from '../../support/change-events.ts';

/** Rows of transactions: [topic, partition, table, transaction]. */
type Row = readonly [topic: string, partition: number, table: string, tx: string];

function turns(rows: readonly Row[], ...marks: Parameters<typeof boundary>[]): Turns {
  const lanes = new Map<string, Lane<ChangeEvent>>();
  const gatherings = new Map<string, Gathering>();
  for (const [n, [topic, partition, table, id]] of rows.entries()) {
    const key = `${topic}/${String(partition)}`;
    const lane = lanes.get(key) ?? new Lane<ChangeEvent>(key);
    const event = changeEvent({
      ...{ op: 'create', topic, partition, table, offset: n, key: image({ id: String(n) }) },
      tx: { id, totalOrder: n + 1 },
    });
    lanes.set(key, lane);
    lane.push(event, 0);
    const gathering = gatherings.get(id) ?? new Gathering(id, 0);
    gatherings.set(id, gathering);
    gathering.add(event, BigInt(n + 1), lane, 0, undefined);
  }
  const boundaries = new Boundaries();
  for (const mark of marks) boundaries.push(boundary(...mark), 0);
  return { lanes, gatherings, boundaries, done: new Set(), isSubscribed: () => true };
}

const beyond = (of: Turns): readonly string[] | null => {
  const found = beyondTurn(of);
  return found === null ? null : [...found];
};

const X = 'p.public.x';
const Y = 'p.public.y';

test('what the transaction in turn lacks is read on, by the counts of its end', () => {
  const rows: Row[] = [
    [X, 0, 'x', '1'],
    [X, 0, 'x', '2'],
    [Y, 0, 'y', '2'],
  ];
  const begin = ['begin', '1', 0] as const;
  const both = turns(rows, [...begin], ['end', '1', 1, { 'public.x': 1, 'public.y': 1 }]);
  expect(beyond(both)).toEqual([`${X}/0`]);
  const all = turns(rows, [...begin], ['end', '1', 1, { 'public.x': 1 }]);
  expect(beyond(all)).toEqual([`${X}/0`, `${Y}/0`]);
  // Its end is not here.
  expect(beyond(turns(rows, [...begin]))).toEqual([`${X}/0`, `${Y}/0`]);
  expect(beyond(turns([]))).toBeNull();
});

test('of several partitions of a topic those are ahead that have come to later ones', () => {
  const rows: Row[] = [
    [X, 0, 'x', '1'],
    [X, 1, 'x', '2'],
  ];
  const of = turns(rows, ['begin', '1', 0], ['end', '1', 1, { 'public.x': 2 }]);
  expect(beyond(of)).toEqual([`${X}/1`]);
  expect(beyond({ ...of, done: new Set(['2']) })).toEqual([]);
});

test('a topic of several tables may bring any of them', () => {
  const rows: Row[] = [['routed', 0, 'x', '1']];
  const end = { 'public.x': 1, 'public.y': 1 };
  expect(beyond(turns(rows, ['begin', '1', 0], ['end', '1', 1, end]))).toEqual([]);
});

test('nothing is ahead of one that began again, whose counts are void', () => {
  const rows: Row[] = [
    [X, 0, 'x', '1'],
    [Y, 0, 'y', '2'],
  ];
  const of = turns(rows, ['begin', '1', 0], ['begin', '1', 1], ['end', '1', 2, { 'public.x': 1 }]);
  expect(beyond(of)).toEqual([]);
});
