import { escapeIdentifier } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import {
  writableColumns,
  type ColumnSchema,
  type SchemaCatalogue,
  type TableSchema,
  type UniqueKey,
} from '../../../schema/table-schema.ts';
import { OVERLAY_WINS, type TablePolicy } from '../../../overlay/policy.ts';
import { isExact, type Comparisons } from '../catalogue/key-facts.ts';
import { relation } from '../session/names.ts';

/** A column as the statements name it. */
export interface ApplyColumn {
  readonly schema: ColumnSchema;
  /** Quoted. */
  readonly name: string;
  /** Its column in the staging table. */
  readonly staged: string;
  /** Bit of the staging mask that says whether its value is known. */
  readonly bit: number;
}

export interface ApplyKeyColumn extends ApplyColumn {
  readonly equals: string;
  /** Staging column with the value the row had before the batch. */
  readonly from: string;
}

/** A table with all that the statements of an apply need to know. */
export interface ApplyTable {
  readonly schema: TableSchema;
  readonly label: string;
  /** Quoted and qualified. */
  readonly relation: string;
  /** For reading and changing rows: without those of tables that inherit from it. */
  readonly rows: string;
  /** All columns that may be written. */
  readonly columns: readonly ApplyColumn[];
  readonly key: readonly ApplyKeyColumn[];
  /** All columns but the key's. */
  readonly rest: readonly ApplyColumn[];
  /** Two spellings may name one row: the key's columns are written too. */
  readonly respell: boolean;
  /** `ON CONFLICT` cannot be used on the key. */
  readonly keyDeferrable: boolean;
  /** Unique constraints that a session in replica role does not check. */
  readonly unchecked: readonly UniqueKey[];
  /** Columns that no UPDATE may set: `GENERATED ALWAYS AS IDENTITY` outside the key. */
  readonly fixed: readonly ApplyColumn[];
  /** Where base images of owned rows are, quoted; null on a trunk. */
  readonly journal: string | null;
  /** Where keys of it wait, quoted; null where none does. */
  readonly waiting: string | null;
  /** The statements are over what was staged and has to wait (park-locked.ts), and not over what is written. */
  readonly aside: boolean;
  /** See `Isolates`; false where it does not matter. */
  readonly isolated: boolean;
  /** Who wins where production changes what the candidate owns. */
  readonly policy: TablePolicy;
}

/**
 * The table that changes of `id` are written to. A partition's are written to its root, where the
 * rows of all partitions are one set of keys; only if the root has no key, to the partition.
 * Errors: TABLE_UNKNOWN, KEY_MISSING.
 */
export function resolveTable(catalogue: SchemaCatalogue, id: TableId): TableSchema {
  const label = tableName(id);
  const named = catalogue.get(label);
  if (named === undefined) {
    throw new UnderstudyError('TABLE_UNKNOWN', 'the shadow has no such table', { table: label });
  }
  const root =
    named.partitionOf === undefined ? undefined : catalogue.get(tableName(named.partitionOf));
  const table = root !== undefined && root.key.length > 0 ? root : named;
  if (table.key.length === 0) {
    throw new UnderstudyError('KEY_MISSING', 'rows of this table cannot be told apart', {
      table: label,
    });
  }
  return table;
}

/** Prepares a table that has a key. `journal` is its journal's name if it is captured. */
export function describeTable(
  table: TableSchema,
  comparisons: Comparisons,
  journal: TableId | null,
  ruled: { readonly isolated?: boolean; readonly policy?: TablePolicy } = {},
): ApplyTable {
  const label = tableName(table.id);
  const compared = comparisons.get(label);
  const columns = writableColumns(table).map((schema, bit) => ({
    schema,
    name: escapeIdentifier(schema.name),
    staged: `c${bit + 1}`,
    bit,
  }));
  let respell = false;
  const key = table.key.map((name, position): ApplyKeyColumn => {
    const column = columns.find((candidate) => candidate.schema.name === name);
    const comparison = compared?.get(name);
    if (column === undefined || comparison === undefined) {
      // A generated column may be part of a key; events cannot address rows by it.
      throw new UnderstudyError('KEY_MISSING', 'a column of the key cannot be written', {
        table: label,
        column: name,
      });
    }
    respell ||= !isExact(column.schema, comparison);
    return { ...column, equals: comparison.equals, from: `f${position + 1}` };
  });
  const rest = columns.filter((column) => !table.key.includes(column.schema.name));
  const keyColumns = new Set(table.key);
  const deferrable = table.uniques.filter((unique) => unique.deferrable);
  const isKey = (unique: UniqueKey): boolean =>
    unique.columns.length === keyColumns.size && unique.columns.every((c) => keyColumns.has(c));
  const name = relation(table.id);
  return {
    schema: table,
    label,
    relation: name,
    rows: table.partitioned ? name : `ONLY ${name}`,
    columns,
    key,
    rest,
    respell,
    keyDeferrable: deferrable.some(isKey),
    unchecked: deferrable.filter((unique) => !isKey(unique)),
    fixed: rest.filter((column) => column.schema.identity === 'always'),
    journal: journal === null ? null : relation(journal),
    waiting: null,
    aside: false,
    isolated: ruled.isolated === true && journal !== null,
    policy: journal === null ? OVERLAY_WINS : (ruled.policy ?? OVERLAY_WINS),
  };
}

/** The key's columns of `alias`: an order of rows, too. */
export function keyOf({ key }: ApplyTable, alias: string): string {
  return key.map(({ name }) => `${alias}.${name}`).join(', ');
}

/** Names of a key column on one side of a comparison: the table's, or the staging table's. */
export type KeySide = 'name' | 'staged' | 'from';

/** `left.k1 = right.k1 AND …`, by the operators of the key's own index. */
export function keysEqual(
  table: ApplyTable,
  [left, leftSide]: readonly [string, KeySide],
  [right, rightSide]: readonly [string, KeySide],
): string {
  return table.key
    .map((column) => `${left}.${column[leftSide]} ${column.equals} ${right}.${column[rightSide]}`)
    .join(' AND ');
}
