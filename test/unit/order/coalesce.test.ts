import { expect, test } from 'vitest';
import { UNAVAILABLE } from '../../../src/change/value.ts';
import type { ChangeEvent } from '../../../src/change/record.ts';
import type { NetChange } from '../../../src/order/change-batch.ts';
import { coalesce } from '../../../src/order/coalesce.ts';
import { isUnderstudyError } from '../../../src/errors/understudy-error.ts';
import { changeEvent, image, textTable } from '../../support/change-events.ts';

const CATALOGUE = new Map([
  ['public.t', textTable('t', ['id', 'a', 'b'])],
  ['public.keyless', textTable('keyless', ['id'], false)],
]);
const KEY = image({ id: '1' });
const TX = { id: '7', totalOrder: 1 };

function net(...events: readonly ChangeEvent[]): readonly NetChange[] {
  const [step] = coalesce(events, CATALOGUE);
  return step?.kind === 'rows' ? step.changes : [];
}

test('an update that lacks a column keeps it, a create that lacks one is complete', () => {
  const after = image({ id: '1', a: 'x' });
  expect(net(changeEvent({ op: 'update', key: KEY, after }))).toMatchObject([{ complete: false }]);
  expect(net(changeEvent({ op: 'create', key: KEY, after }))).toMatchObject([{ complete: true }]);
});

test('an unavailable value is filled from an earlier image of the batch', () => {
  const first = image({ id: '1', a: 'x', b: 'y' });
  const second = image({ id: '1', a: UNAVAILABLE, b: 'z' });
  const [change] = net(
    changeEvent({ op: 'read', key: KEY, after: first }),
    changeEvent({ op: 'update', key: KEY, after: second }),
  );
  expect(change).toMatchObject({ complete: true, image: { values: ['1', 'x', 'z'] } });
});

test('half a key change looks for its old row', () => {
  const after = image({ id: '2', a: UNAVAILABLE, b: 'z' });
  const create = changeEvent({ op: 'create', key: image({ id: '2' }), oldKey: KEY, after });
  expect(net(create)).toMatchObject([{ kind: 'upsert', key: ['2'], from: ['1'], complete: false }]);
});

test('a key that its old row leaves in the stretch is told from one that was free', () => {
  const moved = (from: string, to: string): readonly ChangeEvent[] => {
    const [key, after] = [image({ id: from }), image({ id: to, a: 'x', b: UNAVAILABLE })];
    return [
      changeEvent({ op: 'delete', key, newKey: image({ id: to }) }),
      changeEvent({ op: 'create', key: image({ id: to }), oldKey: key, after }),
    ];
  };
  const replacing = net(changeEvent({ op: 'delete', key: KEY }), ...moved('2', '1'));
  expect(replacing).toMatchObject([{ key: ['2'] }, { key: ['1'], from: ['2'], replaces: true }]);
  const free = net(...moved('2', '1')).find(({ kind }) => kind === 'upsert');
  expect(free).not.toHaveProperty('replaces');
  const same = net(
    changeEvent({ op: 'delete', key: KEY }),
    changeEvent({ op: 'create', key: KEY, after: image({ id: '1', a: 'x' }) }),
  );
  expect(same[0]).not.toHaveProperty('replaces');
});

test('keys stand in the order of their last changes, for the server may hold two of them equal', () => {
  const of = (id: string): object => ({ key: image({ id }) });
  const row = (id: string): object => ({ ...of(id), after: image({ id, a: 'x', b: 'y' }) });
  const changes = net(
    changeEvent({ op: 'create', ...row('STRASSE') }),
    changeEvent({ op: 'delete', ...of('STRASSE') }),
    changeEvent({ op: 'create', ...row('Straße') }),
    changeEvent({ op: 'delete', ...of('Straße') }),
    changeEvent({ op: 'create', ...row('STRASSE') }),
  );
  expect(changes).toMatchObject([
    { kind: 'delete', key: ['Straße'] },
    { kind: 'upsert', key: ['STRASSE'] },
  ]);
});

test('composite keys do not run into each other', () => {
  const table = { ...textTable('t', ['id', 'a', 'b']), key: ['id', 'a'] };
  const events = [
    ['1', '11'],
    ['11', '1'],
  ].map(([id = '', a = '']) => changeEvent({ op: 'create', after: image({ id, a, b: '' }) }));
  const [step] = coalesce(events, new Map([['public.t', table]]));
  expect(step?.kind === 'rows' && step.changes).toHaveLength(2);
});

test.each([
  ['KEY_MISSING', changeEvent({ table: 'keyless', op: 'update', after: KEY, tx: TX })],
  ['KEY_MISSING', changeEvent({ table: 'keyless', op: 'delete', tx: TX })],
  ['KEY_MISSING', changeEvent({ op: 'delete' })],
  ['TABLE_UNKNOWN', changeEvent({ table: 'none', op: 'truncate' })],
  ['COLUMN_UNKNOWN', changeEvent({ op: 'update', key: KEY, after: image({ id: '1', z: 'z' }) })],
] as const)('%s names the event', (code, event) => {
  let caught: unknown = null;
  try {
    net(event);
  } catch (error) {
    caught = error;
  }
  if (!isUnderstudyError(caught, code)) throw new Error(`expected ${code}`);
  expect(caught.context).toMatchObject({ topic: event.at.topic, partition: 0, offset: 0n });
});

test('a row without key and without transaction is refused, but for one that a snapshot read', () => {
  const create = changeEvent({ table: 'keyless', op: 'create', after: KEY });
  expect(() => coalesce([create], CATALOGUE)).toThrow(
    expect.objectContaining({ code: 'KEY_MISSING' }),
  );
  const read = { ...create, op: 'read' as const, snapshot: 'initial' as const };
  expect(coalesce([read], CATALOGUE)).toMatchObject([{ kind: 'bag', changes: [{ kind: 'add' }] }]);
  const again = { ...read, snapshot: 'incremental' as const };
  expect(() => coalesce([again], CATALOGUE)).toThrow(
    expect.objectContaining({ code: 'KEY_MISSING' }),
  );
});

test('a row that the stretch begins by inserting is said to be new, and no other', () => {
  const after = image({ id: '1', a: 'x', b: 'y' });
  const create = changeEvent({ op: 'create', key: KEY, after });
  const update = changeEvent({ op: 'update', key: KEY, after });
  const remove = changeEvent({ op: 'delete', key: KEY });
  const moved = changeEvent({ op: 'create', key: KEY, oldKey: image({ id: '2' }), after });
  const fresh = (...events: readonly ChangeEvent[]): boolean =>
    net(...events).some((change) => change.kind === 'upsert' && change.fresh === true);
  expect(fresh(create)).toBe(true);
  expect(fresh(changeEvent({ op: 'read', key: KEY, after }))).toBe(true);
  expect(fresh(create, update)).toBe(true);
  expect(fresh(update)).toBe(false);
  expect(fresh(remove, create)).toBe(false);
  expect(fresh(create, remove, create)).toBe(false);
  expect(fresh(moved)).toBe(false);
});
