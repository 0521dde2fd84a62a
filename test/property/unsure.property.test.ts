/**
 * NULLs that may be no value, through coalescing: net changes leave the same values, and the same
 * ones unknown, as the changes one by one.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { ChangeEvent } from '../../src/change/record.ts';
import { UNAVAILABLE, UNSURE, type ColumnValue } from '../../src/change/value.ts';
import type { NetChange } from '../../src/order/change-batch.ts';
import { coalesce } from '../../src/order/coalesce.ts';
import { changeEvent, image, textTable } from '../support/change-events.ts';

const CATALOGUE = new Map([['public.t', textTable('t', ['id', 'v'])]]);

/** A shadow's cell: its value, and whether that is in doubt. */
interface Cell {
  readonly v: string | null;
  readonly unknown: boolean;
}

const isShort = (value: string): boolean => value.length < 3;

/** Judges a NULL that may be no value, by the value before it. */
function judge(before: Cell): Cell {
  const real = !before.unknown && (before.v === null || isShort(before.v));
  return real ? { v: null, unknown: false } : { v: before.v, unknown: true };
}

const value = fc.constantFrom('a', 'b', 'long-a', 'long-b', null);
const act = fc.oneof(
  fc.record({ do: fc.constant('insert' as const), id: fc.nat(3), value }),
  fc.record({ do: fc.constant('set' as const), id: fc.nat(3), value }),
  fc.record({ do: fc.constant('touch' as const), id: fc.nat(3) }),
  fc.record({ do: fc.constant('move' as const), id: fc.nat(3), to: fc.nat(3), value }),
  fc.record({ do: fc.constant('keep' as const), id: fc.nat(3) }),
  fc.record({ do: fc.constant('delete' as const), id: fc.nat(3) }),
);
type Act = typeof act extends fc.Arbitrary<infer T> ? T : never;

/** The events of production's acts. What an update sends of NULL or of a long value is unsure. */
function run(production: Map<string, string | null>, acts: readonly Act[]): readonly ChangeEvent[] {
  const events: ChangeEvent[] = [];
  for (const step of acts) {
    const id = String(step.id);
    const key = image({ id });
    const old = production.get(id);
    if (step.do === 'insert') {
      if (old !== undefined) continue;
      production.set(id, step.value);
      events.push(changeEvent({ op: 'create', key, after: image({ id, v: step.value }) }));
      continue;
    }
    if (old === undefined) continue;
    switch (step.do) {
      case 'set':
      case 'touch': {
        const now = step.do === 'set' ? step.value : old;
        production.set(id, now);
        const kept = step.do === 'touch' && old !== null && !isShort(old);
        const sent: ColumnValue = now === null || kept ? UNSURE : now;
        events.push(changeEvent({ op: 'update', key, after: image({ id, v: sent }) }));
        break;
      }
      case 'keep':
        events.push(changeEvent({ op: 'update', key, after: image({ id, v: UNAVAILABLE }) }));
        break;
      case 'move': {
        const to = String(step.to);
        if (production.has(to)) break;
        production.delete(id);
        production.set(to, step.value);
        const newKey = image({ id: to });
        events.push(changeEvent({ op: 'delete', key, newKey }));
        const after = image({ id: to, v: step.value ?? UNSURE });
        events.push(changeEvent({ op: 'create', key: newKey, oldKey: key, after }));
        break;
      }
      case 'delete':
        production.delete(id);
        events.push(changeEvent({ op: 'delete', key }));
        break;
    }
  }
  return events;
}

/** What the port of a batch promises, as simply as it can be said. */
function apply(
  shadow: ReadonlyMap<string, Cell>,
  changes: readonly NetChange[],
): Map<string, Cell> {
  const rows = new Map(shadow);
  for (const change of changes) rows.delete(String(change.key[0]));
  for (const change of changes) {
    if (change.kind === 'delete') continue;
    const before = shadow.get(String(change.from[0]));
    const sent = change.image.values[change.image.shape.index.get('v') ?? -1];
    let cell: Cell;
    if (sent === UNAVAILABLE || sent === UNSURE || sent === undefined) {
      if (before === undefined) throw new Error('nothing to keep from');
      cell = sent === UNSURE ? judge(before) : before;
    } else {
      cell = { v: sent as string | null, unknown: false };
      if (change.doubted?.has('v') === true) cell = judge(cell);
    }
    rows.set(String(change.key[0]), cell);
  }
  return rows;
}

function applyAll(
  shadow: Map<string, Cell>,
  batches: readonly (readonly ChangeEvent[])[],
): unknown {
  let rows = shadow;
  for (const batch of batches) {
    for (const step of coalesce(batch, CATALOGUE)) {
      if (step.kind === 'rows') rows = apply(rows, step.changes);
    }
  }
  return [...rows].toSorted(([x], [y]) => x.localeCompare(y));
}

test('unsure values end alike, and alike unknown, at any cut into batches', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(3), value), { maxLength: 4 }),
      fc.array(act, { maxLength: 20 }),
      (start, acts) => {
        const production = new Map(start.map(([id, v]) => [String(id), v]));
        const shadow = new Map(
          [...production].map(([id, v]): [string, Cell] => [id, { v, unknown: false }]),
        );
        // Each act by itself: both halves of a key change belong together.
        const parts = acts.map((one) => run(production, [one]));
        const onebyone = applyAll(shadow, parts);
        expect(applyAll(shadow, [parts.flat()])).toEqual(onebyone);
        const rows = onebyone as readonly (readonly [string, Cell])[];
        expect(rows.map(([id]) => id)).toEqual([...production.keys()].toSorted());
        for (const [id, cell] of rows.filter(([, { unknown }]) => !unknown)) {
          expect([id, cell.v]).toEqual([id, production.get(id)]);
        }
      },
    ),
    { numRuns: 2_000 },
  );
});
