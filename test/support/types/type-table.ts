/**
 * What a type matrix is made of: tables of columns with edge values, and the ways in which a row
 * comes to be. Adding a type is one entry in a table of `*-tables.ts`.
 */

export interface TypeColumn {
  readonly name: string;
  /** As in CREATE TABLE, with whatever follows the type: `numeric(10,2)`, `int DEFAULT 42`. */
  readonly type: string;
  /**
   * Values as the engine's dialect takes them (see the engine's `literal`). The row after the last
   * one holds NULL. `null` for a column that nobody writes, such as a generated one.
   */
  readonly values: readonly string[] | null;
}

export interface TypeTable {
  readonly name: string;
  readonly columns: readonly TypeColumn[];
}

/** A column as a tuple, the shortest way to write hundreds of them. */
export function column(name: string, type: string, ...values: readonly string[]): TypeColumn {
  return { name, type, values };
}

/** Rows of every form: one for each value, and one of NULLs. */
export function rowCount(table: TypeTable): number {
  return Math.max(...table.columns.map(({ values }) => values?.length ?? 0)) + 1;
}

/**
 * How a row came to be, by the hundreds of its id (the rest counts values from 1). What is deleted
 * must be gone in the shadow too.
 */
export const FORMS = [
  'snapshot',
  'inserted',
  'filled',
  'emptied',
  'refilled',
  'deleted',
  'passing',
  'moved',
] as const;
export type Form = (typeof FORMS)[number];

/** The form's first id. */
function base(form: Form): number {
  return FORMS.indexOf(form) * 100;
}

export function formOf(id: number): Form {
  const form = FORMS[Math.floor(id / 100)];
  if (form === undefined) throw new RangeError(`no form has the id ${String(id)}`);
  return form;
}

/** Which value a row holds: its index in `values`. */
export function valueOf(id: number): number {
  return ((id % 100) - 1) % MOVED_BY;
}

/** How far a row of the form `moved` is moved. */
export const MOVED_BY = 50;

/** Names quoted, values as literals. */
export interface SqlWriter {
  readonly quote: (name: string) => string;
  readonly literal: (value: string, column: TypeColumn) => string;
}

/** Before the connector starts: the table, and the rows of its snapshot. */
export function snapshotSql(table: TypeTable, { quote, literal }: SqlWriter): readonly string[] {
  const name = quote(table.name);
  const definitions = table.columns.map((column) => `${quote(column.name)} ${column.type}`);
  const written = table.columns.filter(({ values }) => values !== null);
  const names = written.map((column) => quote(column.name)).join(', ');
  const rows = Array.from({ length: rowCount(table) }, (_, row) => {
    const values = written.map((column) => {
      const value = column.values?.[row];
      return value === undefined ? 'NULL' : literal(value, column);
    });
    return `(${[String(row + 1), ...values].join(', ')})`;
  });
  const empty = written.map(() => 'NULL').join(', ');
  return [
    `CREATE TABLE ${name} (${['id int PRIMARY KEY', ...definitions].join(', ')})`,
    `INSERT INTO ${name} (id, ${names}) VALUES ${rows.join(', ')}`,
    ...(['emptied', 'refilled', 'deleted', 'moved'] as const).map((form) =>
      copyRows(name, names, form),
    ),
    `INSERT INTO ${name} (id, ${names}) SELECT id + ${String(base('filled'))}, ${empty}
       FROM ${name} WHERE id < 100`,
  ];
}

function copyRows(name: string, names: string, form: Form): string {
  return `INSERT INTO ${name} (id, ${names})
    SELECT id + ${String(base(form))}, ${names} FROM ${name} WHERE id < 100`;
}

/** While the connector streams; `fill` sets the columns of one form to those of the snapshot. */
export function streamSql(
  table: TypeTable,
  { quote }: SqlWriter,
  fill: (name: string, columns: readonly string[], above: number) => string,
): readonly string[] {
  const name = quote(table.name);
  const columns = table.columns
    .filter(({ values }) => values !== null)
    .map((column) => quote(column.name));
  const names = columns.join(', ');
  const within = (form: Form): string =>
    `id > ${String(base(form))} AND id < ${String(base(form) + 100)}`;
  const clear = (form: Form): string =>
    `UPDATE ${name} SET ${columns.map((column) => `${column} = NULL`).join(', ')}
      WHERE ${within(form)}`;
  return [
    copyRows(name, names, 'inserted'),
    copyRows(name, names, 'passing'),
    fill(name, columns, base('filled')),
    clear('emptied'),
    clear('refilled'),
    fill(name, columns, base('refilled')),
    `UPDATE ${name} SET id = id + ${String(MOVED_BY)} WHERE ${within('moved')}`,
    `DELETE FROM ${name} WHERE ${within('deleted')} OR ${within('passing')}`,
  ];
}
