/** Migrations of the candidate: some steps at random, that go on from what is there. */
import type { ColumnRename } from '../../../src/dialect/migrating.ts';
import type { TableId } from '../../../src/change/table-id.ts';
import { HOT_KEYS } from '../overlay-fire.ts';
import type { Random } from '../random.ts';
import type { Places, Session, StormEngine } from './engine.ts';
import { FEW, logWrites, readRows, type Shape } from './shape.ts';

/** A statement, or rows that are changed and logged in one transaction. */
export type Step =
  | { readonly kind: 'sql'; readonly sql: string }
  | { readonly kind: 'set'; readonly set: string; readonly where: string }
  | { readonly kind: 'delete'; readonly where: string };

export interface Migration {
  readonly steps: readonly Step[];
  readonly renames: readonly ColumnRename[];
}

export interface Ground {
  readonly engine: StormEngine;
  readonly places: Places;
  /** As production names it. */
  readonly table: TableId;
  readonly isUnique: boolean;
}

/** What migrations made beside the table, and names that nothing had yet. */
export class Beside {
  readonly indexes: string[] = [];
  readonly tables: string[] = [];
  #serial = 0;

  next(): number {
    this.#serial += 1;
    return this.#serial;
  }
}

const sql = (text: string): Step => ({ kind: 'sql', sql: text });

export function planMigration(
  ground: Ground,
  shape: Shape,
  beside: Beside,
  random: Random,
): Migration {
  const renames: ColumnRename[] = [];
  const steps: Step[] = [];
  const kinds = random.shuffle([
    ...([
      'own',
      'rename',
      'widen',
      'index',
      'few',
      'must',
      'table',
      'set',
      'set',
      'delete',
      'drop',
    ] as const),
  ]);
  for (const kind of kinds.slice(0, random.integer(1, 4))) {
    if (kind === 'rename') {
      const to = shape.b === 'b' ? `b${String(beside.next())}` : 'b';
      renames.push({ table: ground.table, from: shape.b, to });
      steps.push(sql(`ALTER TABLE ${ground.places.table} RENAME COLUMN ${shape.b} TO ${to}`));
      // What follows names it as it is by then.
      shape = { ...shape, b: to };
    } else steps.push(...planSteps(kind, ground, shape, beside, random));
  }
  return { steps, renames };
}

type Kind = 'own' | 'widen' | 'index' | 'few' | 'must' | 'table' | 'set' | 'delete' | 'drop';

function planSteps(
  kind: Kind,
  { engine, places: { table }, table: { name }, isUnique }: Ground,
  { b, hasC, own, isWide, mustC, isFew }: Shape,
  beside: Beside,
  random: Random,
): readonly Step[] {
  const from = random.integer(1, HOT_KEYS);
  const some = `id BETWEEN ${String(from)} AND ${String(from + random.integer(0, 9))}`;
  switch (kind) {
    case 'own': {
      if (own !== null) return [sql(`ALTER TABLE ${table} DROP COLUMN ${own}`)];
      const column = `x${String(beside.next())}`;
      return [
        sql(`ALTER TABLE ${table} ADD COLUMN ${column} VARCHAR(20) NOT NULL DEFAULT 'd'`),
        { kind: 'set', set: `${column} = 'filled'`, where: some },
      ];
    }
    case 'widen':
      return engine.retype(table, 'a', isWide ? 'INT' : 'BIGINT', false).map(sql);
    case 'index': {
      const old = random.chance(0.5) ? beside.indexes.pop() : undefined;
      if (old !== undefined) return [sql(engine.dropIndex(old, table))];
      const index = `by_b${String(beside.next())}`;
      beside.indexes.push(index);
      return [sql(`CREATE INDEX ${index} ON ${table} (${b})`)];
    }
    case 'few':
      if (isFew) return [sql(`ALTER TABLE ${table} DROP CONSTRAINT few`)];
      return [
        { kind: 'set', set: 'a = 5', where: `a = ${FEW}` },
        sql(`ALTER TABLE ${table} ADD CONSTRAINT few CHECK (a <> ${FEW})`),
      ];
    case 'must': {
      if (!hasC || !engine.refusesNull) return [];
      if (mustC) return engine.retype(table, 'c', 'VARCHAR(20)', true).map(sql);
      return [
        { kind: 'set', set: `c = CONCAT('n', id)`, where: 'c IS NULL' },
        ...engine.retype(table, 'c', 'VARCHAR(20)', false).map(sql),
      ];
    }
    case 'table': {
      const old = random.chance(0.5) ? beside.tables.pop() : undefined;
      if (old !== undefined) return [sql(`DROP TABLE ${old}`)];
      const made = `made${String(beside.next())}`;
      beside.tables.push(made);
      return [
        sql(`CREATE TABLE ${made} (id INT PRIMARY KEY, v INT)`),
        sql(`INSERT INTO ${made} VALUES (1, 1), (2, 2)`),
      ];
    }
    case 'set':
      return [{ kind: 'set', set: `${b} = CONCAT('m${String(beside.next())}x', id)`, where: some }];
    case 'delete':
      return [{ kind: 'delete', where: some }];
    case 'drop':
      return !hasC || isUnique || name === 'single' || random.chance(0.7)
        ? []
        : [sql(`ALTER TABLE ${table} DROP COLUMN c`)];
  }
}

/** In a session of the account that migrates, in the transaction that it is in. `shape`: as it is by then. */
export async function takeStep(
  session: Session,
  step: Step,
  { places, shape }: { readonly places: Places; readonly shape: Shape },
): Promise<void> {
  if (step.kind === 'sql') {
    await session.run(step.sql);
    return;
  }
  const found = await readRows(session, places, shape, `WHERE ${step.where} FOR UPDATE`);
  if (found.length === 0) return;
  const which = `id IN (${found.map(({ id }) => String(id)).join(', ')})`;
  if (step.kind === 'delete') {
    await session.run(`DELETE FROM ${places.table} WHERE ${which}`);
    const gone = found.map(({ id }) => ({ id, gone: true as const }));
    await logWrites(session, places, gone);
  } else {
    await session.run(`UPDATE ${places.table} SET ${step.set} WHERE ${which}`);
    await logWrites(session, places, await readRows(session, places, shape, `WHERE ${which}`));
  }
}
