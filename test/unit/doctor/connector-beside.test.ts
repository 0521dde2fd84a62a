/** A connector beside others of its worker, and beside the tables that we follow. */
import { expect, it } from 'vitest';
import { diagnoseCapture } from '../../../src/doctor/capture.ts';
import { diagnoseNeighbours } from '../../../src/doctor/neighbours.ts';

const map = (settings: Readonly<Record<string, string>>) => new Map(Object.entries(settings));
const AT = { 'database.hostname': 'h', 'database.port': '1', 'database.dbname': 'd' };

it.each([
  ['shared-topics', { 'topic.prefix': 'p' }],
  ['shared-slot', { 'slot.name': 's', ...AT }],
  ['shared-server-id', { 'database.server.id': '7', ...AT }],
  ['shared-history', { 'schema.history.internal.kafka.topic': 'h' }],
])('a connector must not share with another: %s', (id, settings) => {
  const others = new Map([
    ['mine', map(settings)],
    ['other', map(settings)],
    ['apart', map({ ...settings, [Object.keys(settings)[0] ?? '']: 'x' })],
  ]);
  const found = diagnoseNeighbours('mine', others);
  expect(found.map((one) => one.id)).toEqual([`connector.${id}`]);
  expect(found[0]?.message).toContain('connector other ');
  expect(diagnoseNeighbours('absent', others)).toEqual([]);
});

it.each([
  [{}, []],
  [{ 'table.include.list': 'public.a, public\\.B' }, []],
  [{ 'table.include.list': 'public.a' }, ['public.b']],
  [{ 'table.exclude.list': '.*\\.b' }, ['public.b']],
  [{ 'schema.include.list': 'sales' }, ['public.a', 'public.b']],
  [{ 'database.exclude.list': 'public' }, ['public.a', 'public.b']],
  [{ 'table.include.list': '(' }, []],
])('a connector that leaves out followed tables is found by its lists: %j', (settings, missed) => {
  const tables = ['a', 'b'].map((name) => ({ schema: 'public', name }));
  const found = diagnoseCapture(map(settings), tables);
  expect(found.map(({ message }) => /table (\S+) /.exec(message)?.[1])).toEqual(missed);
});
