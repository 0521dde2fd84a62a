/** What who follows asks of whoever knows how production's schema changes. */
import type { ExplainRefusal } from '../apply/batch-writer.ts';
import type { DeadCause } from '../change/dead-cause.ts';
import type { LogOffset } from '../change/position.ts';
import type { ChangeEvent, DecodedRecord } from '../change/record.ts';
import { tableName } from '../change/table-id.ts';
import type { RowShape } from '../change/value.ts';
import { columnNames, type NameMode } from '../decode/names.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import { columnNow } from '../schema/former-columns.ts';
import { mayReplace } from '../schema/replaced-columns.ts';
import { toldRenames } from '../schema/told-renames.ts';
import type { SchemaCatalogue, TableSchema } from '../schema/table-schema.ts';

export interface SchemaWatch {
  /** Asked before a change is set aside for its own sake. */
  readonly explain: ExplainRefusal;
  /** Why the table in `error` waits, with all its rows; null if it does not. */
  readonly held: (error: UnderstudyError) => DeadCause | null;
  /** Whether records may lack this column: production has it all the same. */
  readonly mayLack: (table: string, column: string) => boolean;
  /** Whether the record here may have this name of no column any more: it was written before. */
  readonly mayHave: (table: string, column: string, at: LogOffset) => boolean;
  /** Whether message keys may be of other columns than the table's key, which is production's. */
  readonly mayDiffer: (table: string) => boolean;
  /** Whether a table that the shadow lacks was dropped; a record of it, if any, was written before. */
  readonly isGone: (table: string, at?: LogOffset) => boolean;
  /** Whether a record here that tells no place is of before its table got another name. */
  readonly isOld: (table: string, at: LogOffset) => boolean;
  /** Whether all records of the table wait: it, or columns of it, were dropped and made again. */
  readonly waits: (table: string) => boolean;
  /** Whether it is known that the connector told of this table as dropped. */
  readonly knowsDropped: (table: string) => boolean;
  /** Whether it was dropped in production and is kept here. */
  readonly isKept: (table: string) => boolean;
  /** Whether it is known that the statement told here replaced no column of the table, or that this waits. */
  readonly knowsStatement: (table: string, at: LogOffset) => boolean;
  /** Whether it is known what became of the tables that the statement told here renamed. */
  readonly knowsRenames: (at: LogOffset) => boolean;
  /** The table here that records of one wait with which is not here yet; itself for all others. */
  readonly heldUnder: (table: string) => string;
  /** Told of each row that was read. */
  readonly saw: (row: ChangeEvent) => void;
  /** Whether a record here, of a table that is kept, is of before it was dropped; true of all others. */
  readonly isOfBefore: (table: string, at: LogOffset) => boolean;
}

/** The connector tells that production dropped a table, or made one again that was, or sends rows of one. */
export class TableDropped extends UnderstudyError {
  readonly isMadeAgain: boolean;

  constructor(table: string, at: LogOffset, isMadeAgain = false) {
    super('SCHEMA_CHANGED', 'production dropped a table', { ...at, table });
    this.isMadeAgain = isMadeAgain;
  }
}

/** The connector tells of a statement that may have replaced columns by others of their names. */
export class ColumnsReplaced extends UnderstudyError {
  readonly at: LogOffset;

  constructor(table: string, at: LogOffset) {
    super('SCHEMA_CHANGED', 'a statement may have replaced columns', { ...at, table });
    this.at = at;
  }
}

/** The connector tells of a statement that gave tables other names. */
export class TableRenamedTold extends UnderstudyError {
  readonly at: LogOffset;

  constructor(table: string, at: LogOffset) {
    super('SCHEMA_CHANGED', 'production renamed a table', { ...at, table });
    this.at = at;
  }
}

/** A message key is of other columns than the table's. */
export class KeyDiffers extends UnderstudyError {
  /** The shadow's. */
  readonly tableKey: readonly string[];

  constructor({ table, at }: ChangeEvent, key: readonly string[], sent: readonly string[]) {
    super('SCHEMA_CHANGED', 'the record is keyed by other columns than the shadow’s table', {
      ...{ ...at, table: tableName(table) },
      detail: `by (${sent.join(', ')}), not by (${key.join(', ')})`,
    });
    this.tableKey = key;
  }
}

/** Told of every record that was read, and of the names in its message key, if it has one. */
export type RecordWatch = (
  decoded: DecodedRecord,
  keyFields: () => readonly string[] | null,
) => void;

/**
 * Sees rows without a column that the shadow has, and with one that it has no more, and rows that are
 * keyed by other columns: SCHEMA_CHANGED, COLUMN_UNKNOWN and KeyDiffers, unless they may. What is
 * lacking, and keys, are looked at once in each shape.
 */
export function shapeWatch(
  catalogue: SchemaCatalogue,
  watch: Omit<SchemaWatch, 'explain' | 'held' | 'heldUnder' | 'isOld'>,
  names: NameMode = 'none',
): RecordWatch {
  const { mayLack, mayHave, mayDiffer, knowsDropped, knowsStatement, isKept, isOfBefore, waits } =
    watch;
  const { knowsRenames, saw } = watch;
  const seen = new WeakSet<RowShape>();
  /** Lists of names are the same for the same names. */
  const seenKeys = new Map<TableSchema, Set<readonly string[]>>();
  const lookAtKey = (change: ChangeEvent, fields: readonly string[]): void => {
    const table = catalogue.get(tableName(change.table));
    if (table === undefined || table.key.length === 0) return;
    const known = seenKeys.get(table) ?? new Set();
    if (known.has(fields)) return;
    const sent = keyColumns(table, fields, names);
    const isOwn =
      sent.length === table.key.length && table.key.every((name) => sent.includes(name));
    if (!isOwn && !mayDiffer(tableName(change.table)))
      throw new KeyDiffers(change, table.key, sent);
    seenKeys.set(table, known.add(fields));
  };
  return (decoded, keyFields) => {
    if (decoded.kind === 'schema-change' && !decoded.snapshot) {
      const [renamed] = knowsRenames(decoded.at) ? [] : toldRenames(decoded);
      if (renamed !== undefined) throw new TableRenamedTold(tableName(renamed.from), decoded.at);
      for (const { kind, table } of decoded.tables) {
        const label = tableName(table);
        const here = catalogue.get(label);
        if (here === undefined) continue;
        if (kind === 'altered' && !knowsStatement(label, decoded.at)) {
          if (mayReplace(here, decoded.ddl)) throw new ColumnsReplaced(label, decoded.at);
        }
        const isDropped = kind === 'dropped' && !knowsDropped(label);
        // Rows of after would be written over those of before.
        const isMadeAgain = kind === 'created' && isKept(label) && !waits(label);
        if (isDropped || isMadeAgain) throw new TableDropped(label, decoded.at, isMadeAgain);
      }
    }
    if (decoded.kind !== 'change' || decoded.op === 'unread') return;
    saw(decoded);
    if (waits(tableName(decoded.table))) {
      const what = 'production has another table of this name, or other columns of these names';
      throw new UnderstudyError('SCHEMA_CHANGED', what, {
        ...{ ...decoded.at, table: tableName(decoded.table) },
      });
    }
    if (!isOfBefore(tableName(decoded.table), decoded.at)) {
      throw new TableDropped(tableName(decoded.table), decoded.at);
    }
    const fields = decoded.op === 'truncate' ? null : keyFields();
    if (fields !== null) lookAtKey(decoded, fields);
    if (decoded.after === null) return;
    const { shape } = decoded.after;
    if (shape.former.length === 0 && seen.has(shape)) return;
    const label = tableName(decoded.table);
    for (const column of shape.former) {
      if (mayHave(label, column, decoded.at)) continue;
      const what = 'the record has a column that the shadow lacks';
      throw new UnderstudyError('COLUMN_UNKNOWN', what, { ...decoded.at, table: label, column });
    }
    if (seen.has(shape)) return;
    for (const { name, generated } of catalogue.get(label)?.columns ?? []) {
      if (generated !== 'no' || shape.index.has(name) || mayLack(label, name)) continue;
      const what = 'the record lacks a column that the shadow has';
      throw new UnderstudyError('SCHEMA_CHANGED', what, {
        ...{ ...decoded.at, table: label, column: name },
      });
    }
    seen.add(shape);
  };
}

/** The columns that the fields are of; what a transform added to the key is of none. */
function keyColumns(
  table: TableSchema,
  fields: readonly string[],
  names: NameMode,
): readonly string[] {
  const columns = table.columns.map(({ name }) => name);
  const nameOf = columnNames(columns, names);
  return fields.flatMap((sent) => {
    const name = columnNow(table, nameOf(sent));
    return name !== null && columns.includes(name) ? [name] : [];
  });
}
