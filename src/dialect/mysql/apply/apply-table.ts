import { createHash } from 'node:crypto';
import { tableName, type TableId } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import {
  writableColumns,
  type ColumnSchema,
  type TableSchema,
} from '../../../schema/table-schema.ts';
import type { DatabaseTables, TextForm } from '../catalogue/catalogue.ts';
import { companionName, literal, quote } from '../session/names.ts';

/** A column as the statements name it. */
export interface ApplyColumn {
  readonly schema: ColumnSchema;
  /** Quoted. */
  readonly name: string;
  /** Its column in the staging table. */
  readonly staged: string;
  /** Its type there: the table's own, with its character set and collation. */
  readonly stagedType: string;
}

export interface ApplyKeyColumn extends ApplyColumn {
  /** Staging column with the value the row had before the batch. */
  readonly from: string;
}

/** A table with all that the statements of an apply need to know. */
export interface ApplyTable {
  readonly schema: TableSchema;
  /** As production names it; for messages. */
  readonly label: string;
  /** Quoted and qualified by the shadow database. */
  readonly relation: string;
  /** Quoted and qualified by the companion: a temporary table of the session. */
  readonly stage: string;
  /**
   * Temporary tables of rows that a foreign key reaches: before (`b1`, …) and after (`a1`, …). Two, for
   * a statement that fills one may read the other only.
   */
  readonly reach: readonly [string, string];
  /** All columns that may be written. */
  readonly columns: readonly ApplyColumn[];
  /** Empty for a table whose rows are a multiset. */
  readonly key: readonly ApplyKeyColumn[];
  /** The name of the key's index; null without key. */
  readonly keyIndex: string | null;
  /**
   * `FORCE INDEX …` over the key, so that no join ever scans the table; empty without key, and where the
   * servers take no hint of the index.
   */
  readonly keyHint: string;
  /** The same of another index. */
  readonly hint: (index: string) => string;
}

/**
 * Prepares a table. `companion`: where its staging tables are made. Errors: TABLE_UNKNOWN, and KEY_MISSING for a key that cannot be written.
 */
export function describeTable(
  tables: DatabaseTables,
  database: string,
  id: TableId,
  companion = companionName(database),
): ApplyTable {
  const label = tableName(id);
  const schema = tables.catalogue.get(label);
  if (schema === undefined) {
    throw new UnderstudyError('TABLE_UNKNOWN', 'the shadow has no such table', { table: label });
  }
  const index = tables.keyIndexes.get(label);
  const forms = tables.textForms.get(label);
  const columns = writableColumns(schema).map((column, i) => ({
    schema: column,
    name: quote(column.name),
    staged: `c${String(i + 1)}`,
    stagedType: stagedType(column, forms?.get(column.name)),
  }));
  const key = schema.key.map((name, i): ApplyKeyColumn => {
    const column = columns.find((candidate) => candidate.schema.name === name);
    if (column === undefined) {
      throw new UnderstudyError('KEY_MISSING', 'a column of the key cannot be written', {
        table: label,
        column: name,
      });
    }
    return { ...column, from: `f${String(i + 1)}` };
  });
  const hint = (name: string): string =>
    tables.hidden.get(label)?.has(name) === true ? '' : `FORCE INDEX FOR JOIN (${quote(name)})`;
  const shape = [label, columns.map((c) => [c.schema.name, c.stagedType]), schema.key];
  const hash = createHash('sha256').update(JSON.stringify(shape)).digest('hex').slice(0, 16);
  return {
    schema,
    label,
    relation: quote(database, schema.id.name),
    stage: quote(companion, `stage_${hash}`),
    reach: [quote(companion, `reach_${hash}_0`), quote(companion, `reach_${hash}_1`)],
    columns,
    key,
    keyIndex: index ?? null,
    keyHint: index === undefined ? '' : hint(index),
    hint,
  };
}

/** As other tables have such a column. */
export function stagedType({ type }: ColumnSchema, form: TextForm | undefined): string {
  // The catalogue writes labels with backslashes, which our sessions do not read.
  const labels = type.labels?.map(literal).join(', ');
  const bare = labels === undefined ? type.sql : `${type.kind}(${labels})`;
  if (form === undefined) return bare;
  return `${bare} CHARACTER SET ${form.charset} COLLATE ${form.collation}`;
}

/**
 * The staging table: the last of several rows whose keys the server holds equal counts; without
 * key, every row does. `have`, `own`, `held`, `freed` and `conflict` are of tables that a candidate writes to (staged-rows.ts).
 */
export function createStage(table: ApplyTable): string {
  const keys = new Set(table.key.map((column) => column.staged));
  const columns = table.columns.map(
    ({ staged, stagedType: type }) => `${staged} ${type} ${keys.has(staged) ? 'NOT NULL' : 'NULL'}`,
  );
  const from = table.key.map((column) => `${column.from} ${column.stagedType} NULL`);
  const primary = keys.size === 0 ? ['seq'] : table.key.map((column) => column.staged);
  return `CREATE TEMPORARY TABLE IF NOT EXISTS ${table.stage} (
    ${[...columns, ...from].join(',\n    ')},
    seq INT NOT NULL,
    op CHAR(1) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    mask INT NOT NULL,
    have TINYINT NOT NULL DEFAULT 0,
    own TINYINT NOT NULL DEFAULT 0,
    held TINYINT NOT NULL DEFAULT 0,
    freed TINYINT NOT NULL DEFAULT 0,
    conflict VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NULL,
    PRIMARY KEY (${primary.join(', ')})
  ) ENGINE=InnoDB`;
}

/** One of the tables of reached rows; `hop` tells how they were reached. */
export function createReach(table: ApplyTable, which: 0 | 1): string {
  const columns = (['b', 'a'] as const).flatMap((side) =>
    table.columns.map(({ stagedType: type }, i) => `${side}${String(i + 1)} ${type} NULL`),
  );
  return `CREATE TEMPORARY TABLE IF NOT EXISTS ${table.reach[which]} (
    hop INT NOT NULL,
    ${columns.join(',\n    ')},
    KEY (hop)
  ) ENGINE=InnoDB`;
}
