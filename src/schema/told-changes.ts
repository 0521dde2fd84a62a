/** What a connector's schema-change topic adds to what two catalogues tell of a change. */
import type { SchemaChangeRecord, ToldAddition, ToldTable } from '../change/table-change.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import { changesOfColumn, type SchemaChange } from './schema-change.ts';
import { escapePattern } from '../util/pattern.ts';
import { plainStatement } from './plain-statement.ts';
import { toldRenames } from './told-renames.ts';
import type { ColumnSchema } from './table-schema.ts';

/** A statement that changed a table, with the table before it. */
export interface Turn {
  readonly before: ToldTable;
  readonly after: ToldTable;
  readonly ddl: string;
}

/**
 * The changes with what `history`, the topic from its start, tells of them: whether a column was
 * renamed or dropped while another was added, what rows that were there have in a new column, whether
 * a table is new. What it does not tell stays as it is.
 */
export function clarified(
  changes: readonly SchemaChange[],
  history: readonly SchemaChangeRecord[],
): readonly SchemaChange[] {
  return [...Map.groupBy(changes, ({ table }) => tableName(table)).values()].flatMap((ofTable) => {
    const [first] = ofTable;
    if (first === undefined) return [];
    const { table } = first;
    return clarifiedColumns(ofTable, turnsOf(history, table)).map((change) =>
      change.kind === 'newTable' && !change.certain
        ? { ...change, certain: wasCreated(history, table) }
        : change,
    );
  });
}

/** Of one table. What is new is looked up by its former names; what is gone and none of these was dropped. */
function clarifiedColumns(
  changes: readonly SchemaChange[],
  turns: readonly Turn[],
): readonly SchemaChange[] {
  const unsure = changes.filter((change) => change.kind === 'rename' && !change.certain);
  const open = [...unsure, ...changes.filter(({ kind }) => kind === 'add' || kind === 'drop')];
  const gone = new Map(open.flatMap((change) => goneIn(change)).map((one) => [one.name, one]));
  const made: SchemaChange[] = [];
  for (const change of open) {
    const column = newIn(change);
    if (column === null) continue;
    const { table } = change;
    const origin = originOf(turns, column.name);
    if (origin === null) {
      for (const { name } of goneIn(change)) gone.delete(name);
      made.push(change);
    } else if (origin.kind === 'added') {
      made.push({ kind: 'add', table, column, told: origin.told });
    } else {
      const from = gone.get(origin.name);
      gone.delete(origin.name);
      if (from === undefined) made.push(change);
      else {
        made.push({ kind: 'rename', table, from, to: column, certain: true });
        made.push(...changesOfColumn(table, { ...from, name: column.name }, column));
      }
    }
  }
  const [first] = open;
  const dropped = [...gone.values()].flatMap((column): readonly SchemaChange[] =>
    first === undefined ? [] : [{ kind: 'drop', table: first.table, column }],
  );
  const kept = changes.filter((change) => !open.includes(change));
  return [
    ...made.filter(({ kind }) => kind !== 'add'),
    ...dropped,
    ...kept,
    ...made.filter(({ kind }) => kind === 'add'),
  ];
}

function goneIn(change: SchemaChange): readonly ColumnSchema[] {
  if (change.kind === 'drop') return [change.column];
  return change.kind === 'rename' ? [change.from] : [];
}

function newIn(change: SchemaChange): ColumnSchema | null {
  if (change.kind === 'add') return change.column;
  return change.kind === 'rename' ? change.to : null;
}

type Origin =
  | { readonly kind: 'added'; readonly told: ToldAddition }
  | { readonly kind: 'renamed'; readonly name: string };

/** How a column came to be that the shadow does not know; null if that is not told. */
function originOf(turns: readonly Turn[], column: string): Origin | null {
  let name = column;
  for (const { before, after, ddl } of turns.toReversed()) {
    if (has(before, name) || !has(after, name)) continue;
    const old = before.columns.find((one) => !has(after, one.name) && renames(ddl, one.name, name));
    const told = after.columns.find((one) => one.name === name);
    if (old !== undefined) ({ name } = old);
    else return told === undefined ? null : { kind: 'added', told: { column: told, ddl } };
  }
  return name === column ? null : { kind: 'renamed', name };
}

/**
 * What became of a column that production has no more: its name since, or null if it was dropped.
 * Undefined where that is not told.
 */
export function becameOf(
  history: readonly SchemaChangeRecord[],
  table: TableId,
  column: string,
): string | null | undefined {
  let name = column;
  for (const { before, after, ddl } of turnsOf(history, table)) {
    if (!has(before, name) || has(after, name)) continue;
    const since = name;
    const other = after.columns.find(
      (one) => !has(before, one.name) && renames(ddl, since, one.name),
    );
    if (other === undefined) return null;
    ({ name } = other);
  }
  return name === column ? undefined : name;
}

/** Was it dropped, and not made again? */
export function wasDropped(history: readonly SchemaChangeRecord[], label: string): boolean {
  const told = history
    .filter(({ snapshot }) => !snapshot)
    .flatMap(({ tables }) => tables)
    .filter(({ table }) => tableName(table) === label);
  return told.at(-1)?.kind === 'dropped';
}

/** `RENAME COLUMN a TO b`, or `CHANGE a b int`. */
function renames(ddl: string, from: string, to: string): boolean {
  const [a, b] = [spelled(from), spelled(to)];
  const gap = String.raw`(?:\s|/\*[^]*?\*/)+`;
  const exists = `(?:if${gap}exists${gap})?`;
  const rename = `rename${gap}column${gap}${exists}${a}${gap}to${gap}${b}`;
  const change = `change${gap}(?:column${gap})?${exists}${a}${gap}${b}`;
  return new RegExp(`\\b(?:${rename}|${change})(?![\\w$])`, 'i').test(ddl);
}

/** `DROP COLUMN a`, or `DROP a`; of columns, since an index or a partition is named behind a word. */
export function drops(ddl: string, name: string): boolean {
  return says(ddl, `drop${GAP}(?:column${GAP})?(?:if${GAP}exists${GAP})?${spelled(name)}`);
}

/** `ADD COLUMN a`, `ADD a` or `ADD (a …, b …)`, as far as the name stands behind a comma or a bracket. */
export function adds(ddl: string, name: string): boolean {
  const exists = `(?:if${GAP}not${GAP}exists${GAP})?`;
  return says(ddl, `add(?:${GAP}column)?(?:${GAP}|\\s*\\([^]*?[(,]?\\s*)${exists}${spelled(name)}`);
}

/** Names of columns that the statement gave this one. */
export function renamesInto(ddl: string, to: string): readonly string[] {
  const found = plainStatement(ddl).matchAll(
    new RegExp(
      `\\b(?:rename${GAP}column${GAP}|change${GAP}(?:column${GAP})?)(?:if${GAP}exists${GAP})?` +
        `(\`(?:[^\`]|\`\`)+\`|"(?:[^"]|"")+"|[\\w$]+)${GAP}(?:to${GAP})?${spelled(to)}(?![\\w$])`,
      'gi',
    ),
  );
  const names = Array.from(found, ([, name = '']) =>
    /^[`"]/.test(name) ? name.slice(1, -1).replaceAll(/([`"])\1/g, '$1') : name,
  );
  return names.filter((name) => name !== to);
}

const GAP = String.raw`\s+`;

function spelled(name: string): string {
  const quoted = ['`', '"'].map((mark) => {
    return `${mark}${escapePattern(name.replaceAll(mark, mark + mark))}${mark}`;
  });
  return `(?:${[escapePattern(name), ...quoted].join('|')})`;
}

function says(ddl: string, pattern: string): boolean {
  return new RegExp(`\\b${pattern}(?![\\w$])`, 'i').test(plainStatement(ddl));
}

function wasCreated(history: readonly SchemaChangeRecord[], table: TableId): boolean {
  const last = toldOf(history, table).findLast(({ after }) => after.kind !== 'altered');
  if (last?.after.kind !== 'created') return false;
  // Of one that had another name, all rows are told only if it was made since.
  return !last.snapshot || isOf(last.after, table);
}

/**
 * Statements that changed a table that was there, as far as it was told of before: also under the names
 * that it had.
 */
export function turnsOf(history: readonly SchemaChangeRecord[], table: TableId): readonly Turn[] {
  const turns: Turn[] = [];
  let before: ToldTable | null = null;
  for (const { after, ddl } of toldOf(history, table)) {
    if (before?.kind !== 'dropped' && before !== null && after.kind === 'altered') {
      turns.push({ before, after, ddl });
    }
    before = after;
  }
  return turns;
}

interface Told extends Pick<Turn, 'after' | 'ddl'> {
  readonly snapshot: boolean;
}

/** What was told of the table that has this name in the end, in turn. */
function toldOf(history: readonly SchemaChangeRecord[], table: TableId): readonly Told[] {
  let name = table;
  const told: Told[] = [];
  for (const record of history.toReversed()) {
    const { tables, ddl, snapshot } = record;
    told.push(
      ...tables
        .filter((one) => isOf(one, name))
        .toReversed()
        .map((after) => ({ after, ddl, snapshot })),
    );
    const into = toldRenames(record).findLast(({ to }) => tableName(to) === tableName(name));
    if (into !== undefined) name = into.from;
  }
  return told.reverse();
}

function has({ columns }: ToldTable, name: string): boolean {
  return columns.some((column) => column.name === name);
}

function isOf(told: ToldTable, table: TableId): boolean {
  return tableName(told.table) === tableName(table);
}
