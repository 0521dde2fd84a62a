import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { ChangeEvent } from '../../src/change/record.ts';
import { UNAVAILABLE, type ColumnValue, type RowImage } from '../../src/change/value.ts';
import type { BatchStep } from '../../src/order/change-batch.ts';
import { coalesce } from '../../src/order/coalesce.ts';
import { changeEvent, image, textTable } from '../support/change-events.ts';

const TABLE = textTable('t', ['id', 'a', 'b']);
const CATALOGUE = new Map([['public.t', TABLE]]);

type Row = Readonly<Record<string, ColumnValue>>;
type Table = Map<string, Row>;

/** What production's clients do; whether it is possible is decided against the table. */
const act = fc.oneof(
  fc.record({ do: fc.constant('insert' as const), id: fc.nat(4) }),
  fc.record({
    do: fc.constant('update' as const),
    id: fc.nat(4),
    keepA: fc.boolean(),
    keepB: fc.boolean(),
  }),
  fc.record({ do: fc.constant('delete' as const), id: fc.nat(4) }),
  fc.record({
    do: fc.constant('move' as const),
    id: fc.nat(4),
    to: fc.nat(4),
    keepA: fc.boolean(),
    keepB: fc.boolean(),
  }),
  fc.record({ do: fc.constant('swap' as const), id: fc.nat(4), to: fc.nat(4) }),
  fc.record({ do: fc.constant('truncate' as const) }),
);

type Act = typeof act extends fc.Arbitrary<infer T> ? T : never;

/** Production's table and the events it makes of the acts. */
function run(table: Table, acts: readonly Act[]): readonly ChangeEvent[] {
  const events: ChangeEvent[] = [];
  let fresh = 0;
  const write = (id: string, old: Row | undefined, keepA: boolean, keepB: boolean): RowImage => {
    fresh += 1;
    const a = keepA && old !== undefined ? old['a'] : `a${fresh}`;
    const b = keepB && old !== undefined ? old['b'] : `b${fresh}`;
    table.set(id, { id, a: a ?? null, b: b ?? null });
    return image({
      id,
      a: keepA && old !== undefined ? UNAVAILABLE : (a ?? null),
      b: keepB && old !== undefined ? UNAVAILABLE : (b ?? null),
    });
  };
  const move = (from: string, to: string, keepA: boolean, keepB: boolean): void => {
    const old = table.get(from);
    if (old === undefined || table.has(to)) return;
    table.delete(from);
    const oldKey = image({ id: from });
    const newKey = image({ id: to });
    const after = write(to, old, keepA, keepB);
    events.push(changeEvent({ op: 'delete', key: oldKey, newKey }));
    events.push(changeEvent({ op: 'create', key: newKey, oldKey, after }));
  };
  for (const step of acts) {
    if (step.do === 'truncate') {
      table.clear();
      events.push(changeEvent({ op: 'truncate' }));
      continue;
    }
    const id = String(step.id);
    const key = image({ id });
    const old = table.get(id);
    if (step.do === 'insert' && old === undefined) {
      events.push(changeEvent({ op: 'create', key, after: write(id, undefined, false, false) }));
    } else if (step.do === 'update' && old !== undefined) {
      const after = write(id, old, step.keepA, step.keepB);
      events.push(changeEvent({ op: 'update', key, after }));
    } else if (step.do === 'delete' && old !== undefined) {
      table.delete(id);
      events.push(changeEvent({ op: 'delete', key }));
    } else if (step.do === 'move') {
      move(id, String(step.to), step.keepA, step.keepB);
    } else if (step.do === 'swap') {
      move(id, 'spare', true, true);
      move(String(step.to), id, true, true);
      move('spare', String(step.to), true, true);
    }
  }
  return events;
}

/** What the port of a batch promises, as simply as it can be said. */
function apply(table: Table, steps: readonly BatchStep[]): Table {
  let rows = new Map(table);
  for (const step of steps) {
    if (step.kind === 'truncate') {
      rows = new Map();
      continue;
    }
    if (step.kind !== 'rows') throw new Error('the table has a key, and nobody refers to it');
    const before = new Map(rows);
    for (const change of step.changes) rows.delete(String(change.key[0]));
    for (const change of step.changes) {
      if (change.kind === 'delete') continue;
      const from = before.get(String(change.from[0]));
      if (!change.complete && from === undefined) throw new Error('nothing to keep from');
      const row: Record<string, ColumnValue> = {};
      for (const { name } of TABLE.columns) {
        const i = change.image.shape.index.get(name);
        const value = i === undefined ? UNAVAILABLE : (change.image.values[i] ?? null);
        row[name] = value === UNAVAILABLE ? (from?.[name] ?? null) : value;
      }
      rows.set(String(change.key[0]), row);
    }
  }
  return rows;
}

test('net changes have the effect of the changes one by one, at any cut into batches', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.nat(4)),
      fc.array(act, { maxLength: 25 }),
      fc.array(fc.nat(25), { maxLength: 3 }),
      (ids, acts, cuts) => {
        const production: Table = new Map(
          ids.map((id) => [String(id), { id: String(id), a: `a-${id}`, b: `b-${id}` }]),
        );
        let shadow: Table = new Map(production);
        const edges = [0, ...cuts.toSorted((x, y) => x - y), acts.length];
        for (let i = 1; i < edges.length; i += 1) {
          const events = run(production, acts.slice(edges[i - 1], edges[i]));
          const steps = coalesce(events, CATALOGUE);
          for (const step of steps) {
            if (step.kind !== 'rows') continue;
            const keys = step.changes.map((change) => change.key[0]);
            expect(new Set(keys).size).toBe(keys.length);
          }
          shadow = apply(shadow, steps);
        }
        const sorted = (table: Table): unknown =>
          [...table].toSorted(([x], [y]) => x.localeCompare(y));
        expect(sorted(shadow)).toEqual(sorted(production));
      },
    ),
    { numRuns: 1_000 },
  );
});
