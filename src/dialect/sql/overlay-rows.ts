/** What the engines' statements find of an overlay, as the port tells it. */
import { tableName } from '../../change/table-id.ts';
import { UnderstudyError } from '../../errors/understudy-error.ts';
import type { ConflictKind, DifferenceKind } from '../../overlay/conflict.ts';
import type { Outcome } from '../../overlay/outcome.ts';
import type { TableSchema } from '../../schema/table-schema.ts';
import type { OverlayRow, RowSelection } from '../dialect.ts';
import type { OutcomeCounts, OverlayConflict, RowReading } from '../overlay.ts';

/** A captured table. */
export interface ReadTable {
  readonly label: string;
  readonly schema: Pick<TableSchema, 'id' | 'key' | 'uniques' | 'foreignKeys'>;
  readonly columns: readonly { readonly schema: { readonly name: string } }[];
}

/** Values are texts, in the order of the table's columns. */
export interface DifferenceRow {
  readonly kind: DifferenceKind;
  readonly key: readonly string[];
  /** Of a pair: production's. */
  readonly productionKey?: readonly string[] | null;
  /** Epoch milliseconds: exact whatever the session's time zone and the driver's parsers. */
  readonly at: number;
  readonly trace: string | null;
  readonly changed: readonly boolean[];
  readonly production: readonly (string | null)[];
  readonly candidate: readonly (string | null)[];
}

/** Of a row that is kept out: the candidate sees none. */
function isAbsent({ columns, schema }: ReadTable, row: DifferenceRow): boolean {
  const at = columns.findIndex((column) => column.schema.name === schema.key[0]);
  return (row.candidate[at] ?? null) === null;
}

/** Columns of the table's unique and foreign keys. */
function linksOf({ schema: { uniques, foreignKeys } }: ReadTable): ReadonlySet<string> {
  return new Set([...uniques, ...foreignKeys].flatMap(({ columns }) => columns));
}

/** Of an update, and of a row that is kept out, only the columns that differ, and what `only` asks for. */
export function toOverlayRow(
  table: ReadTable,
  row: DifferenceRow,
  only: RowReading = {},
): OverlayRow {
  // A key is never NULL: it tells whether there is a row at all.
  const hidden = row.kind === 'blocked' && isAbsent(table, row);
  const isPart =
    row.kind === 'update' || row.kind === 'pair' || (row.kind === 'blocked' && !hidden);
  const links = isPart && only.links === true ? linksOf(table) : null;
  const columns = table.columns.flatMap((column, i) => {
    const isSame = isPart && row.changed[i] !== true;
    if (isSame && links?.has(column.schema.name) !== true) return [];
    return [
      {
        column: column.schema.name,
        production: row.kind === 'insert' ? null : (row.production[i] ?? null),
        candidate: row.kind === 'delete' ? null : (row.candidate[i] ?? null),
        ...(isSame && { same: true as const }),
      },
    ];
  });
  const { key, kind, trace } = row;
  const candidate = kind !== 'delete' && !hidden;
  const pairedWith = row.productionKey ?? null;
  return {
    ...{ table: table.schema.id, key, kind, columns, at: new Date(row.at), trace, candidate },
    ...(pairedWith !== null && { pairedWith }),
  };
}

/** As DifferenceRow, of a conflict. */
export interface ConflictRow {
  readonly kind: ConflictKind;
  readonly key: readonly string[];
  readonly detail: string | null;
  /** Epoch milliseconds. */
  readonly firstAt: number;
  readonly at: number;
  readonly trace: string | null;
  readonly firstSource: string | null;
  readonly source: string | null;
  readonly changed: readonly boolean[];
  readonly production: readonly (string | null)[];
  readonly candidate: readonly (string | null)[];
  /** By column; null: production had no such row. */
  readonly base: Readonly<Record<string, string | null>> | null;
}

export function toOverlayConflict(table: ReadTable, row: ConflictRow): OverlayConflict {
  const { kind, key, trace, firstSource, source, detail } = row;
  const columns = table.columns.flatMap(({ schema: { name } }, i) => {
    if (row.changed[i] !== true) return [];
    const [production, candidate] = [row.production[i] ?? null, row.candidate[i] ?? null];
    return [{ column: name, base: row.base?.[name] ?? null, production, candidate }];
  });
  return {
    ...{ table: table.schema.id, key, kind, columns, trace, firstSource, source },
    detail: detail === '' ? null : detail,
    firstAt: new Date(row.firstAt),
    at: new Date(row.at),
  };
}

/** What production has there somebody would work off a second time: it is let in by the table's name alone. */
export function isApart({ isolated }: { readonly isolated: boolean }): boolean {
  return isolated;
}

/**
 * The captured tables a selection names; without a name, all but those that are to be left alone then.
 * Errors: USAGE, TABLE_UNKNOWN.
 */
export function selectTables<Table extends ReadTable>(
  tables: readonly Table[],
  only: RowSelection,
  isLeftAlone: (table: Table) => boolean = () => false,
): readonly Table[] {
  if (only.table === undefined) {
    if (only.key === undefined) return tables.filter((table) => !isLeftAlone(table));
    throw new UnderstudyError('USAGE', 'a key is selected without its table');
  }
  const label = tableName(only.table);
  const selected = tables.filter((table) => table.label === label);
  if (selected.length === 0) {
    throw new UnderstudyError('TABLE_UNKNOWN', 'no writes to this table are captured', {
      table: label,
    });
  }
  return selected;
}

/** USAGE if other tables refer to one that is to be emptied, as the engines' own statement has it. */
export function assertUnreferenced(label: string, referring: readonly string[]): void {
  const others = [...new Set(referring.filter((other) => other !== label))];
  if (others.length === 0) return;
  const what = 'a table that others refer to by foreign keys cannot be truncated';
  const detail = `${others.join(', ')} refer to it: delete its rows instead`;
  throw new UnderstudyError('USAGE', what, { table: label, detail });
}

/** Of what a ledger counted; what it has none of is 0. */
export function toOutcomeCounts(
  found: readonly { readonly outcome: string; readonly entries: number }[],
): OutcomeCounts {
  const counts = new Map(found.map(({ outcome, entries }) => [outcome, Number(entries)]));
  const of = (outcome: Outcome): number => counts.get(outcome) ?? 0;
  return {
    ...{ converged: of('converged'), released: of('released'), reset: of('reset') },
    ...{ ours: of('ours'), theirs: of('theirs'), merged: of('merged') },
  };
}
