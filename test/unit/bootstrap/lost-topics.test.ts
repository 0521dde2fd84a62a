import { expect, test } from 'vitest';
import { lostTopics, tablesConcerned } from '../../../src/bootstrap/lost-topics.ts';
import type { TableSchema } from '../../../src/schema/table-schema.ts';
import { textTable } from '../../support/change-events.ts';

const at = (offsets: Record<string, number>): ReadonlyMap<string, bigint> =>
  new Map(Object.entries(offsets).map(([key, offset]) => [key, BigInt(offset)]));

const all = (): boolean => true;

test('a topic is lost whose log begins behind our position, ends before it, or is gone', () => {
  const log = {
    starts: at({ 'a/0': 4, 'b/0': 5, 'c/0': 0, 'd/0': 0, 'd/1': 9 }),
    ends: at({ 'a/0': 9, 'b/0': 9, 'c/0': 3, 'd/0': 4, 'd/1': 9 }),
    ids: new Map(),
  };
  const position = at({ 'a/0': 4, 'b/0': 4, 'c/0': 4, 'd/0': 4, 'd/1': 4, 'gone/0': 1 });
  expect([...lostTopics(position, new Map(), log, all)]).toEqual(['b', 'c', 'd', 'gone']);
  expect([...lostTopics(position, new Map(), log, (topic) => topic === 'c')]).toEqual(['c']);
});

test('a topic that was never read is lost without its first record', () => {
  const ends = at({ 'a/0': 9, 'b/0': 9, 'c/0': 9 });
  const log = { starts: at({ 'a/0': 4, 'b/0': 0, 'c/0': 4 }), ends, ids: new Map() };
  expect([...lostTopics(at({ 'c/0': 5 }), new Map(), log, all)]).toEqual(['a']);
});

test('a topic is lost that is another one, if something of it was read', () => {
  const log = { starts: at({ 'a/0': 0, 'b/0': 0 }), ends: at({ 'a/0': 9, 'b/0': 9 }) };
  const ids = new Map([
    ['a', '2'],
    ['b', '2'],
  ]);
  const known = new Map([
    ['a', '1'],
    ['b', '1'],
  ]);
  const lost = lostTopics(at({ 'a/0': 5, 'b/0': 0 }), known, { ...log, ids }, all);
  expect([...lost]).toEqual(['a']);
  expect(lostTopics(at({ 'a/0': 5 }), new Map(), { ...log, ids }, all).size).toBe(0);
});

const id = (name: string): TableSchema['id'] => ({ schema: 'public', name });
const CATALOGUE = new Map<string, TableSchema>([
  ['public.parent', textTable('parent', ['id'])],
  [
    'public.child',
    {
      ...textTable('child', ['id']),
      foreignKeys: [
        {
          ...{ columns: ['id'], references: id('parent'), referencedColumns: ['id'] },
          unlogged: { onDelete: 'cascade', onUpdate: 'keep' },
        } as never,
      ],
    },
  ],
  ['public.root', textTable('root', ['id'])],
  ['public.leaf', { ...textTable('leaf', ['id']), partitionOf: id('root') }],
]);

const concerned = (topics: readonly string[], also: readonly TableSchema['id'][] | null = []) =>
  tablesConcerned(new Set(topics), CATALOGUE, {
    tables: (topic) => (topic === 'other' ? null : topic === 'former' ? [] : [id(topic)]),
    ...{ includes: ({ name }) => name !== 'excluded', also },
  }).map(({ name }) => name);

test('tables of lost topics are copied, with whom a foreign key ties whose acts are in no log', () => {
  expect(concerned(['leaf'])).toEqual(['root']);
  expect(concerned(['child'])).toEqual(['parent', 'child']);
  expect(concerned(['former'])).toEqual([]);
});

test('all are copied for a topic of no table, or while all are', () => {
  expect(concerned(['leaf', 'other'])).toEqual(['parent', 'child', 'root']);
  expect(concerned(['leaf'], null)).toEqual(['parent', 'child', 'root']);
  expect(concerned(['leaf'], [id('child')])).toEqual(['parent', 'child', 'root']);
});
