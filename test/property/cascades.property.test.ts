import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { ChangeEvent } from '../../src/change/record.ts';
import { imageValue } from '../../src/change/value.ts';
import type { BatchStep } from '../../src/order/change-batch.ts';
import { coalesce } from '../../src/order/coalesce.ts';
import type { TableSchema } from '../../src/schema/table-schema.ts';
import { changeEvent, image, textTable } from '../support/change-events.ts';

type TableName = 'folder' | 'file' | 'line' | 'held' | 'other';
/** By id: the row it refers to; null if to none. */
type Rows = Readonly<Record<TableName, Map<string, string | null>>>;

const refers = (
  name: TableName,
  to: TableName,
  unlogged: { onDelete: boolean; onUpdate: boolean } | null,
): TableSchema => ({
  ...textTable(name, ['id', 'of']),
  foreignKeys: [
    {
      ...{ name: `${name}_of`, columns: ['of'], referencedColumns: ['id'] },
      ...(unlogged !== null && { unlogged }),
      references: { schema: 'public', name: to },
    },
  ],
});

const TABLES: readonly TableSchema[] = [
  textTable('folder', ['id', 'of']),
  refers('file', 'folder', { onDelete: true, onUpdate: true }),
  refers('line', 'file', { onDelete: true, onUpdate: true }),
  // It forbids that its folder goes.
  refers('held', 'folder', null),
  textTable('other', ['id', 'of']),
];
const CATALOGUE = new Map(TABLES.map((table) => [`public.${table.id.name}`, table]));

const empty = (): Rows => ({
  folder: new Map(),
  file: new Map(),
  line: new Map(),
  held: new Map(),
  other: new Map(),
});

/** A foreign key forbids that the row goes, or gets another key. */
function isHeld(rows: Rows, table: TableName, id: string): boolean {
  return table === 'folder' && [...rows.held.values()].includes(id);
}

/** Files go with their folder, and lines without a file stay. */
function remove(rows: Rows, table: TableName, id: string): void {
  if (isHeld(rows, table, id) || !rows[table].delete(id)) return;
  if (table === 'folder') {
    for (const [file, of] of rows.file) if (of === id) remove(rows, 'file', file);
  }
  if (table !== 'file') return;
  for (const [line, of] of rows.line) if (of === id) rows.line.set(line, null);
}

/** Who refers to a row goes on doing so when it gets another key. */
function rename(rows: Rows, table: TableName, id: string, to: string): void {
  const of = rows[table].get(id);
  if (of === undefined || rows[table].has(to) || isHeld(rows, table, id)) return;
  rows[table].delete(id);
  rows[table].set(to, of);
  const child = table === 'folder' ? 'file' : table === 'file' ? 'line' : null;
  if (child === null) return;
  for (const [one, parent] of rows[child]) if (parent === id) rows[child].set(one, to);
}

const statement = fc.record({
  kind: fc.constantFrom('put', 'put', 'put', 'delete', 'delete', 'rename', 'replace'),
  table: fc.constantFrom('folder', 'folder', 'file', 'line', 'held', 'held', 'other'),
  id: fc.nat(2),
  of: fc.nat(2),
});

/** What production does, and what its log holds of it. */
class Production {
  readonly rows = empty();
  readonly log: ChangeEvent[] = [];

  do(act: { kind: string; table: TableName; id: number; of: number }): void {
    const { table } = act;
    const [id, of] = [String(act.id), String(act.of)];
    switch (act.kind) {
      case 'put':
        this.#put(table, id, of);
        break;
      case 'delete':
        this.#delete(table, id);
        break;
      case 'replace':
        this.#delete(table, id);
        this.#put(table, id, of);
        break;
      default:
        this.#rename(table, id, of);
    }
  }

  #put(table: TableName, id: string, wanted: string): void {
    const parents: Readonly<Record<TableName, TableName | null>> = {
      ...{ folder: null, file: 'folder', line: 'file', held: 'folder', other: null },
    };
    const parent = parents[table];
    const of = parent !== null && this.rows[parent].has(wanted) ? wanted : null;
    const before = this.rows[table].get(id);
    this.rows[table].set(id, of);
    const after = image({ id, of });
    if (before === undefined) this.#tell({ op: 'create', table, key: image({ id }), after });
    else {
      const was = image({ id, of: before });
      this.#tell({ op: 'update', table, key: image({ id }), before: was, after });
    }
  }

  #delete(table: TableName, id: string): void {
    const of = this.rows[table].get(id);
    if (of === undefined || isHeld(this.rows, table, id)) return;
    remove(this.rows, table, id);
    this.#tell({ op: 'delete', table, key: image({ id }), before: image({ id, of }) });
  }

  #rename(table: TableName, id: string, to: string): void {
    const of = this.rows[table].get(id);
    if (of === undefined || this.rows[table].has(to) || isHeld(this.rows, table, id)) return;
    rename(this.rows, table, id, to);
    const [old, key] = [image({ id }), image({ id: to })];
    this.#tell({ op: 'delete', table, key: old, before: image({ id, of }), newKey: key });
    this.#tell({ op: 'create', table, key, after: image({ id: to, of }), oldKey: old });
  }

  #tell(event: Parameters<typeof changeEvent>[0]): void {
    const totalOrder = this.log.length + 1;
    this.log.push(changeEvent({ ...event, tx: { id: '1', totalOrder } }));
  }
}

/** What a writer does: its rows as they are, and what a foreign key does only where it is told to. */
function write(rows: Rows, steps: readonly BatchStep[]): void {
  for (const step of steps) {
    const name = step.table.name as TableName;
    const table = rows[name];
    if (step.kind === 'cascade') {
      for (const change of step.changes) {
        if (change.kind === 'delete') remove(rows, name, String(change.key[0]));
        else rename(rows, name, String(change.key[0]), String(change.columns[0]?.[1]));
      }
    }
    if (step.kind !== 'rows') continue;
    for (const change of step.changes) {
      if (change.kind === 'delete') table.delete(String(change.key[0]));
    }
    for (const change of step.changes) {
      if (change.kind === 'delete') continue;
      const of = imageValue(change.image, 'of');
      table.set(String(change.key[0]), of === null ? null : String(of));
    }
  }
}

const sorted = (rows: Rows): unknown =>
  Object.entries(rows).map(([name, table]) => [
    name,
    [...table].toSorted(([a], [b]) => Number(a) - Number(b)),
  ]);

function shadowOf(log: readonly ChangeEvent[], cuts: readonly number[], cascades: boolean): Rows {
  const rows = empty();
  const ends = [...new Set([...cuts, log.length])].toSorted((a, b) => a - b);
  let from = 0;
  for (const end of ends) {
    write(rows, coalesce(log.slice(from, end), CATALOGUE, { cascades }));
    from = Math.min(end, log.length);
  }
  return rows;
}

const histories = fc.tuple(
  fc.array(statement, { maxLength: 40 }),
  fc.array(fc.nat(40), { maxLength: 3 }),
);

test('what foreign keys did unseen is done at its place, at any cut into batches', () => {
  fc.assert(
    fc.property(histories, ([acts, cuts]) => {
      const production = new Production();
      for (const act of acts) production.do(act);
      const shadow = shadowOf(production.log, cuts, true);
      expect(sorted(shadow)).toEqual(sorted(production.rows));
    }),
    { numRuns: 5_000 },
  );
});

test('without it rows stay that production does not have', () => {
  const production = new Production();
  production.do({ kind: 'put', table: 'folder', id: 1, of: 0 });
  production.do({ kind: 'put', table: 'file', id: 2, of: 1 });
  production.do({ kind: 'delete', table: 'folder', id: 1, of: 0 });
  expect(sorted(shadowOf(production.log, [], false))).not.toEqual(sorted(production.rows));
});

test('parents that go one after the other go in one step', () => {
  const production = new Production();
  for (const id of [1, 2, 3]) production.do({ kind: 'put', table: 'folder', id, of: 0 });
  const before = production.log.length;
  for (const id of [1, 2, 3]) {
    production.do({ kind: 'delete', table: 'folder', id, of: 0 });
    production.do({ kind: 'put', table: 'other', id, of: 0 });
  }
  const steps = coalesce(production.log.slice(before), CATALOGUE, { cascades: true });
  expect(steps.map(({ kind }) => kind)).toEqual(['cascade', 'rows', 'rows']);
});

test('a row that forbade it goes first, though nothing is done to it', () => {
  const production = new Production();
  production.do({ kind: 'put', table: 'folder', id: 1, of: 0 });
  production.do({ kind: 'put', table: 'file', id: 2, of: 1 });
  production.do({ kind: 'put', table: 'held', id: 3, of: 1 });
  const before = production.log.length;
  production.do({ kind: 'delete', table: 'held', id: 3, of: 0 });
  production.do({ kind: 'delete', table: 'folder', id: 1, of: 0 });
  expect(production.rows.file.size).toBe(0);
  const shadow = shadowOf(production.log, [before], true);
  expect(sorted(shadow)).toEqual(sorted(production.rows));
});
