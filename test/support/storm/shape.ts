/** What the candidate's migrations made of the table, as the server tells. */
import type { HotRow } from '../overlay-fire.ts';
import type { Places, Session, StormEngine, TextRow } from './engine.ts';

export interface Shape {
  /** What the candidate calls production's `b`. */
  readonly b: string;
  /** Production's `c` is there. */
  readonly hasC: boolean;
  /** A column that only the candidate has; each has a name that no other had. */
  readonly own: string | null;
  readonly isWide: boolean;
  /** `c` must have a value. */
  readonly mustC: boolean;
  /** `a` must not be FEW. */
  readonly isFew: boolean;
}

export const FEW = '9';

export const PLAIN: Shape = {
  ...{ b: 'b', hasC: true, own: null, isWide: false, mustC: false, isFew: false },
};

export async function readShape(
  session: Session,
  engine: StormEngine,
  { database, table }: { readonly database: string; readonly table: string },
): Promise<Shape> {
  const where = `${engine.schemaIs(database)} AND table_name = '${table}'`;
  const columns = await session.rows(
    `SELECT column_name, LOWER(data_type), is_nullable FROM information_schema.columns WHERE ${where}`,
  );
  const rules = await session.rows(
    `SELECT 1 FROM information_schema.table_constraints WHERE ${where} AND constraint_name = 'few'`,
  );
  const names = columns.map(([name]) => name ?? '');
  const of = (name: string): TextRow | undefined => columns.find(([one]) => one === name);
  return {
    b: names.find((name) => /^b\d*$/.test(name)) ?? 'b',
    hasC: names.includes('c'),
    own: names.find((name) => /^x\d+$/.test(name)) ?? null,
    isWide: of('a')?.[1] === 'bigint',
    mustC: of('c')?.[2] === 'NO',
    isFew: rules.length > 0,
  };
}

/** Of a row of production's, what is to be seen. */
export function shownBy({ hasC }: Shape): (row: HotRow) => HotRow {
  return hasC ? (row) => row : ({ a, b }) => ({ a, b, c: null });
}

/** Whether the candidate's table refuses a row by itself. */
export function refusedBy({ mustC, isFew }: Shape): (row: HotRow) => boolean {
  return ({ a, c }) => (mustC && c === null) || (isFew && a === FEW);
}

/** A row as the candidate has it, by production's names. */
export interface SeenRow extends HotRow {
  readonly id: number;
  /** Of its own column: `name=value`. */
  readonly x: string | null;
}

/** Of the statement that ends so, or is made of it. */
function columnsOf({ b, hasC, own }: Shape): string {
  return `id, a, ${b}, ${hasC ? 'c' : 'NULL'}, ${own ?? 'NULL'}`;
}

function seen(rows: readonly TextRow[], { own }: Shape): readonly SeenRow[] {
  return rows.map(([id, a, b, c, x]) => ({
    ...{ id: Number(id), a: a ?? '', b: b ?? '', c: c ?? null },
    x: own === null ? null : `${own}=${x ?? ''}`,
  }));
}

export async function readRows(
  session: Session,
  { table }: Places,
  shape: Shape,
  rest = '',
): Promise<readonly SeenRow[]> {
  return seen(await session.rows(`SELECT ${columnsOf(shape)} FROM ${table} ${rest}`), shape);
}

/** Writes the row with this key; none, if it wrote nothing. */
export async function writeRow(
  session: Session,
  engine: Pick<StormEngine, 'returns'>,
  { places, shape }: { readonly places: Places; readonly shape: Shape },
  { id, sql }: { readonly id: number; readonly sql: string },
): Promise<readonly SeenRow[]> {
  // Read after, an older row of the key would be there too, as a snapshot has it.
  if (engine.returns)
    return seen(await session.rows(`${sql} RETURNING ${columnsOf(shape)}`), shape);
  const written = await session.run(sql);
  return written > 0 ? readRows(session, places, shape, `WHERE id = ${String(id)}`) : [];
}

/** In a statement after the write's, so that what captures it has fired, and while its lock is held. */
export async function logWrites(
  session: Session,
  { log }: Places,
  rows: readonly (SeenRow | { readonly id: number; readonly gone: true })[],
): Promise<void> {
  if (rows.length === 0) return;
  const text = (value: string | null): string => (value === null ? 'NULL' : `'${value}'`);
  const values = rows.map((row) =>
    'gone' in row
      ? `(${String(row.id)}, 'delete', NULL, NULL, NULL, NULL)`
      : `(${String(row.id)}, 'put', ${[row.a, row.b, row.c, row.x].map(text).join(', ')})`,
  );
  await session.run(`INSERT INTO ${log} (id, kind, a, b, c, x) VALUES ${values.join(', ')}`);
}
