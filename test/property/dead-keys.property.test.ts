import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { ChangeEvent, RowChange } from '../../src/change/record.ts';
import { tableName } from '../../src/change/table-id.ts';
import { keyText } from '../../src/order/key-text.ts';
import { coalesce } from '../../src/order/coalesce.ts';
import { DeadKeys } from '../../src/order/dead-keys.ts';
import type { DeadNotes } from '../../src/order/dead-notes.ts';
import { changeEvent, image, textTable, unread } from '../support/change-events.ts';

const CATALOGUE = new Map(
  ['t', 'o'].map((name) => [`public.${name}`, textTable(name, ['id', 'v'])]),
);
const EXACT = new Set(CATALOGUE.keys());
const CAUSE = { code: 'APPLY_FAILED', message: 'refused' } as const;

type Rows = Map<string, string>;

/** Writes the net effect of changes, as an applier does. */
function write(rows: Rows, changes: readonly ChangeEvent[]): void {
  for (const step of coalesce(changes, CATALOGUE)) {
    const table = tableName(step.table);
    const name = (key: Parameters<typeof keyText>[0]): string => `${table} ${keyText(key)}`;
    if (step.kind === 'truncate') {
      for (const row of rows.keys()) if (row.startsWith(`${table} `)) rows.delete(row);
    }
    if (step.kind !== 'rows') continue;
    for (const change of step.changes) rows.delete(name(change.key));
    for (const change of step.changes) {
      if (change.kind === 'upsert') rows.set(name(change.key), String(change.image.values[1]));
    }
  }
}

/** A history of whole rows in two tables, with key changes and truncates, as Debezium tells it. */
const history = fc
  .array(
    fc.record({
      table: fc.constantFrom('t', 'o'),
      what: fc.constantFrom('put', 'put', 'put', 'delete', 'move', 'move', 'truncate'),
      id: fc.nat(4).map(String),
      to: fc.nat(4).map(String),
      poison: fc.nat(5).map((n) => n === 0),
      damaged: fc.nat(8).map((n) => n === 0),
      holding: fc.nat(20).map((n) => n === 0),
    }),
    { maxLength: 30 },
  )
  .map((acts) => {
    const there = new Set<string>();
    const poison = new Set<ChangeEvent>();
    const damaged = new Set<ChangeEvent>();
    const holding = new Set<ChangeEvent>();
    const events: RowChange[] = [];
    const add = (change: Parameters<typeof changeEvent>[0]): RowChange => {
      const event = changeEvent({ ...change, offset: events.length });
      events.push(event);
      return event;
    };
    for (const [n, { table, what, id, to, ...act }] of acts.entries()) {
      const [row, target] = [`${table} ${id}`, `${table} ${to}`];
      const after = (key: string) => image({ id: key, v: `${n}` });
      let last: RowChange | null = null;
      if (what === 'truncate') {
        if (n % 3 !== 0) continue;
        for (const name of there) if (name.startsWith(`${table} `)) there.delete(name);
        add({ table, op: 'truncate' });
      } else if (what === 'put') {
        const op = there.has(row) ? 'update' : 'create';
        last = add({ table, op, key: image({ id }), after: after(id) });
        there.add(row);
      } else if (what === 'delete') {
        if (there.delete(row)) last = add({ table, op: 'delete', key: image({ id }) });
      } else if (there.has(row) && !there.has(target)) {
        const [oldKey, newKey] = [image({ id }), image({ id: to })];
        last = add({ table, op: 'delete', key: oldKey, newKey });
        add({ table, op: 'create', key: newKey, oldKey, after: after(to) });
        there.delete(row);
        there.add(target);
      }
      if (last !== null && act.poison) poison.add(last);
      if (last !== null && act.damaged) damaged.add(last);
      if (last !== null && act.holding) holding.add(last);
    }
    return { events, poison, damaged, holding };
  });

/** The letters' queues, as the notes of batch after batch keep them. */
class Letters {
  events: DeadNotes['events'][number][] = [];

  take(notes: DeadNotes | null): void {
    for (const { from, into } of notes?.merged ?? []) {
      this.events = this.events.map((e) => (e.letter === from ? { ...e, letter: into } : e));
    }
    this.events = this.events.filter(({ letter }) => notes?.cleared.includes(letter) !== true);
    this.events.push(...(notes?.events ?? []));
  }
}

interface Told {
  readonly events: readonly RowChange[];
  readonly poison: ReadonlySet<ChangeEvent>;
  readonly damaged: ReadonlySet<ChangeEvent>;
  /** From these on their tables wait. */
  readonly holding: ReadonlySet<ChangeEvent>;
}

function play(
  { events, poison, damaged, holding }: Told,
  batch: number,
): { readonly rows: Rows; readonly letters: Letters; readonly dead: DeadKeys } {
  const rows: Rows = new Map();
  const letters = new Letters();
  let dead = DeadKeys.of(CATALOGUE, { exact: EXACT, letters: [], keys: [] });
  let id = 0;
  for (let at = 0; at < events.length; at += batch) {
    const read = events.slice(at, at + batch);
    const refused = new Map(read.filter((c) => poison.has(c)).map((c) => [c, CAUSE]));
    const changes = read.map((c) => {
      if (poison.has(c)) return c;
      const keyless = { key: null, oldKey: null, newKey: null };
      if (holding.has(c)) return { ...unread(c), ...keyless, holds: true as const };
      return damaged.has(c) ? unread(c) : c;
    });
    const screened = dead.screen(changes, refused, () => String((id += 1)));
    write(rows, screened.kept);
    letters.take(screened.notes);
    dead = screened.next;
  }
  return { rows, letters, dead };
}

const batches = fc.integer({ min: 1, max: 8 });

test('replayed in any order of the letters, the rows are those of production', () => {
  fc.assert(
    fc.property(history, batches, fc.infiniteStream(fc.nat()), (told, batch, order) => {
      const production: Rows = new Map();
      write(production, told.events);
      const { rows, letters } = play(told, batch);
      const ids = [...new Set(letters.events.map(({ letter }) => letter))];
      for (const id of ids
        .map((one) => [order.next().value as number, one] as const)
        .sort((a, b) => a[0] - b[0])) {
        const queue = letters.events.filter(({ letter }) => letter === id[1]);
        write(
          rows,
          queue.map(({ at }) => told.events[Number(at.offset)] as ChangeEvent),
        );
      }
      expect(rows).toEqual(production);
    }),
  );
});

test('rows that no poison reaches are production’s at every moment', () => {
  fc.assert(
    fc.property(history, batches, (told, batch) => {
      const production: Rows = new Map();
      write(production, told.events);
      const { rows, letters } = play(told, batch);
      const touched = new Set(
        letters.events.flatMap(({ at }) => {
          const event = told.events[Number(at.offset)] as ChangeEvent;
          return [event.key, event.oldKey, event.newKey].flatMap((key) =>
            key === null ? [] : [`${tableName(event.table)} ${String(key.values[0])}`],
          );
        }),
      );
      const others = (all: Rows): unknown => new Map([...all].filter(([row]) => !touched.has(row)));
      expect(others(rows)).toEqual(others(production));
    }),
  );
});

test('without poison nothing is set aside', () => {
  fc.assert(
    fc.property(history, batches, ({ events }, batch) => {
      const { letters, dead } = play(
        { events, poison: new Set(), damaged: new Set(), holding: new Set() },
        batch,
      );
      expect([letters.events, dead.size]).toEqual([[], 0]);
    }),
  );
});

test('a table that waits takes up its letters, and lets no row of it go on', () => {
  const of = (table: string, id: string): RowChange =>
    changeEvent({ table, op: 'update', key: image({ id }), after: image({ id, v: id }) });
  const hold = { ...unread(of('t', '3')), key: null, holds: true as const };
  const fresh = DeadKeys.of(CATALOGUE, { exact: EXACT, letters: [], keys: [] });
  let id = 0;
  const newId = (): string => String((id += 1));
  const before = fresh.screen([unread(of('t', '1')), unread(of('o', '1'))], new Map(), newId);
  const later = [of('t', '2'), of('o', '2'), of('t', '1')];
  const { kept, notes, next } = before.next.screen([hold, ...later], new Map(), newId);
  expect(kept).toEqual([later[1]]);
  expect(notes?.letters).toEqual([]);
  expect(notes?.events.map(({ letter }) => letter)).toEqual(['1', '1', '1']);
  expect(next.size).toBe(3);
  expect(next.screen([of('t', '9')], new Map(), newId).kept).toEqual([]);
});

test('a truncate ends no letter with a damaged record of another partition, whoever starts anew', () => {
  const key = image({ id: '1' });
  const at = (partition: number): ChangeEvent =>
    unread(changeEvent({ table: 't', op: 'update', partition, key, after: key }));
  const truncate = changeEvent({ table: 't', op: 'truncate', offset: 9 });
  const fresh = DeadKeys.of(CATALOGUE, { exact: EXACT, letters: [], keys: [] });
  const screen = (dead: DeadKeys, ...changes: readonly ChangeEvent[]) =>
    dead.screen(changes, new Map(), () => 'letter');
  expect(screen(fresh, at(0), truncate).next.size).toBe(0);
  expect(() => screen(fresh, at(1), truncate)).toThrow(/truncated/);
  expect(() => screen(screen(fresh, at(0), at(1)).next, truncate)).toThrow(/truncated/);
  // A letter that is put together with one of another partition.
  const [other, both] = [image({ id: '2' }), { table: 't', op: 'update' as const }];
  const second = unread(changeEvent({ ...both, partition: 1, key: other, after: other }));
  const moved = changeEvent({ ...both, key, oldKey: other, after: key });
  let id = 0;
  const two = fresh.screen([at(0), second, moved], new Map(), () => String((id += 1))).next;
  expect(() => screen(two, truncate)).toThrow(/truncated/);
  const table = { schema: 'public', name: 't' };
  const known = (partition: number) =>
    DeadKeys.of(CATALOGUE, {
      exact: EXACT,
      letters: [{ id: 'l', table, tables: [table], unread: [{ topic: 'p.public.t', partition }] }],
      keys: [{ letter: 'l', table, id: 'any' }],
    });
  expect(screen(known(0), truncate).next.size).toBe(0);
  expect(() => screen(known(1), truncate)).toThrow(/truncated/);
});
