import { describe, expect, it } from 'vitest';
import { RowShape, UNSURE, UNAVAILABLE } from '../../../../src/change/value.ts';
import {
  afterChange,
  facing,
  originOf,
  parseReshaped,
  policyNow,
  reshapedText,
  reshapeOf,
  splitSteps,
  type Reshaped,
} from '../../../../src/dialect/sql/reshaped.ts';
import type { BatchStep } from '../../../../src/order/change-batch.ts';
import type { ColumnSchema, TableSchema } from '../../../../src/schema/table-schema.ts';

const column = (name: string, sql = 'text'): ColumnSchema => ({
  ...{ name, type: { sql, kind: 'text' }, nullable: name !== 'id', generated: 'no' },
  ...{ identity: 'no', toastable: false },
});

function table(name: string, ...columns: readonly ColumnSchema[]): TableSchema {
  return {
    id: { schema: 's', name },
    ...{ columns: [column('id'), ...columns], key: ['id'], uniques: [], foreignKeys: [] },
    partitioned: false,
  };
}

const before = table('t', column('a'), column('b'), column('c'));
const now = table('t_new', column('a2'), column('c', 'int'), column('own'));
const renamed = (name: string): string | null => (name === 'a' ? 'a2' : name === 'b' ? null : name);
const reshaped = reshapeOf({ schema: before, partitions: [] }, now, renamed) as Reshaped;
const all = new Map([['s.t', reshaped]]);

describe('a reshaped table', () => {
  it('is told by its columns, types and key, and by nothing else', () => {
    expect(reshaped.visible).toEqual(now.id);
    expect([...reshaped.columns]).toEqual([
      ...[
        ['id', 'id'],
        ['a', 'a2'],
        ['b', null],
        ['c', 'c'],
      ],
    ]);
    const same = { ...before, columns: before.columns.map((one) => ({ ...one, nullable: true })) };
    const of = { schema: before, partitions: [] };
    expect(reshapeOf(of, { ...same, uniques: [] }, (name) => name)).toBeNull();
    expect(reshapeOf(of, { ...same, key: ['a'] }, (name) => name)?.visible).toBeNull();
    expect(reshapeOf(of, null, (name) => name)?.visible).toBeNull();
    expect(reshapeOf(of, same, (name) => name, [table('t_1')])?.visible).toEqual(before.id);
  });

  it('is stored as it is', () => {
    expect(parseReshaped(reshapedText(reshaped))).toEqual(reshaped);
  });

  it('is production’s to who follows, which knows nothing of the candidate’s own', () => {
    const catalogue = new Map(
      [now, table('mine'), table('other')].map((one) => [`s.${one.id.name}`, one]),
    );
    const found = facing(catalogue, { tables: all, own: new Set(['s.mine']) });
    expect([...found.keys()].toSorted()).toEqual(['s.other', 's.t']);
    expect(found.get('s.t')).toEqual(before);
  });

  it('gets of a change what it has columns for', () => {
    const step = (values: readonly (string | typeof UNSURE)[]): BatchStep => ({
      kind: 'rows',
      table: before.id,
      changes: [
        {
          ...{ kind: 'upsert', key: ['1'], from: ['1'], complete: true, doubted: new Set(['a']) },
          image: { shape: new RowShape(['id', 'a', 'b', 'c']), values },
        },
        { kind: 'delete', key: ['2'] },
      ],
    });
    const whole = step(['1', 'A', 'B', 'C']);
    const other: BatchStep = { kind: 'truncate', table: { schema: 's', name: 'other' } };
    const { kept, visible } = splitSteps([whole, other], all);
    expect(kept).toEqual([whole]);
    expect(visible).toMatchObject([
      {
        table: now.id,
        changes: [
          {
            complete: true,
            image: { shape: { columns: ['id', 'a2', 'c'] }, values: ['1', 'A', 'C'] },
          },
          { kind: 'delete', key: ['2'] },
        ],
      },
      other,
    ]);
    expect(visible[0]).not.toHaveProperty('changes.0.doubted');
    // Whether a value is production's is settled in what is kept.
    const [unsure] = splitSteps([step(['1', UNSURE, 'B', 'C'])], all).visible;
    expect(unsure).toMatchObject({
      changes: [
        { complete: false, image: { values: ['1', UNAVAILABLE, 'C'] } },
        { kind: 'delete' },
      ],
    });
    const gone = new Map([['s.t', { ...reshaped, visible: null }]]);
    expect(splitSteps([whole], gone).visible).toEqual([]);
  });

  it('sends what a partition tells to its root, by the root’s key', () => {
    const root = { ...table('m', column('at')), key: ['at', 'id'] };
    const partition = { ...root, id: { schema: 's', name: 'm1' }, key: ['id', 'at'] };
    const columns = new Map([
      ['id', 'id'],
      ['at', 'at'],
    ]);
    const one = { schema: root, visible: null, columns, partitions: [partition] };
    const step: BatchStep = {
      ...{ kind: 'rows', table: partition.id },
      changes: [{ kind: 'delete', key: ['7', '2026'] }],
    };
    expect(splitSteps([step], new Map([['s.m', one]])).kept).toEqual([
      { ...step, table: root.id, changes: [{ kind: 'delete', key: ['2026', '7'] }] },
    ]);
    const truncate: BatchStep = { kind: 'truncate', table: partition.id };
    expect(() => splitSteps([truncate], new Map([['s.m', one]]))).toThrow('one partition');
  });

  it('goes with production’s own changes, but for its key and name', () => {
    const { id } = before;
    const added = afterChange(reshaped, { kind: 'add', table: id, column: column('own') });
    expect(added.columns.get('own')).toBeNull();
    const moved = {
      kind: 'rename',
      table: id,
      from: column('a'),
      to: column('z'),
      certain: true,
    } as const;
    const after = afterChange(added, moved);
    expect(after.columns.get('z')).toBe('a2');
    expect(after.schema.columns.map(({ name }) => name)).toEqual(['id', 'z', 'b', 'c', 'own']);
    const dropped = afterChange(after, { kind: 'drop', table: id, column: column('z') });
    expect(dropped.columns.has('z')).toBe(false);
    const key = { kind: 'key', table: id, from: ['id'], to: ['a'], primary: true } as const;
    expect(() => afterChange(reshaped, key)).toThrow('the candidate migrated it');
  });

  it('is ruled by what is said of production’s, and wins on what is its own', () => {
    expect(originOf(now, all)).toEqual({ id: before.id, reshaped });
    expect(originOf(table('other'), all)).toEqual({
      id: { schema: 's', name: 'other' },
      reshaped: null,
    });
    const policy = {
      ...({ rows: 'overlay-wins', others: 'merge' } as const),
      columns: new Map([['a', 'delta'] as const]),
    };
    expect([...policyNow(policy, now, reshaped).columns]).toEqual([
      ['a2', 'delta'],
      ['own', 'overlay-wins'],
    ]);
    expect(policyNow(policy, now, null)).toBe(policy);
  });
});
