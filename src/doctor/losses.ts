/**
 * What the connector, as it is set, loses of the columns that there are: the decode room's table of
 * losses, asked column by column.
 */
import { tableName, type TableId } from '../change/table-id.ts';
import {
  columnLoss,
  expectedSchema,
  isSent,
  lossesOf,
  type ValueSource,
} from '../decode/column.ts';
import { inspectSettings, type ConnectorSettings } from '../decode/connectors/settings.ts';
import { LOSSES, type LossId } from '../decode/losses/losses.ts';
import { columnNames } from '../decode/names.ts';
import { Problem } from '../decode/problem.ts';
import type { ConnectSchema } from '../decode/envelope/connect-schema.ts';
import type { Diagnosis } from '../dialect/dialect.ts';
import type { ColumnSchema, SchemaCatalogue, TypeKind } from '../schema/table-schema.ts';
import { replacesNulls } from './connector/records.ts';
import { adjustsYears, sendsDefaults } from './connector/values.ts';
import { selection } from './selection.ts';

export interface LossyColumn {
  readonly id: LossId;
  readonly table: TableId;
  readonly column: string;
  /** The connector's setting that loses it; null where no setting does, and none helps. */
  readonly setting: string | null;
  readonly loses: string;
  readonly cure: string;
}

/** A column's form tells that its kind may lose this, but the connector's setting whether it does. */
const BY_SETTING_ALONE: ReadonlySet<LossId> = new Set(['time-adjuster']);

/** Kinds of values with a year, which enable.time.adjuster changes. */
const WITH_YEAR: ReadonlySet<TypeKind> = new Set<TypeKind>(['date', 'timestamp']);

/** No settings lead to these forms: the connector made them of the DDL in the binlog. */
const BY_SCHEMA_ALONE: ReadonlySet<LossId> = new Set([
  ...(['real-as-float', 'boolean-integer', 'char-binary', 'float4-null'] as const),
]);

/**
 * Whole columns may be read as something else, and no record tells: as grave as a stop, since the
 * other way to be sure costs a setting only.
 */
const IN_SILENCE: ReadonlySet<LossId> = new Set(['float4-untold', 'char-binary-untold']);

/** How many columns a message names. */
const NAMED = 8;

/**
 * Losses that make a difference to a row of an included table, or stop at it; partitions are left to the table
 * they belong to. Columns whose form a mode decides that is not known are passed over. By the
 * connector's own settings, null where they are not known, columns are named that it never sends.
 */
export function lossyColumns(...of: Parameters<typeof columnsToTell>): readonly LossyColumn[] {
  return columnsToTell(...of).filter(({ id }) => LOSSES[id].effect !== 'none');
}

/** The same, and what is lost of columns whose rows are equal all the same. */
export function columnsToTell(
  source: ValueSource,
  catalogue: SchemaCatalogue,
  includes: (table: TableId) => boolean,
  settings: ConnectorSettings | null,
): readonly LossyColumn[] {
  const unsent = unsentBy(source, settings);
  const view = settings === null ? null : { settings, facts: inspectSettings(settings) };
  const defaults = view !== null && (sendsDefaults(view) || replacesNulls(view));
  const adjusted = view !== null && adjustsYears(view);
  const told = view?.facts.value !== 'json-without-schema';
  return [...catalogue.values()]
    .filter(({ id, partitionOf }) => includes(id) && partitionOf === undefined)
    .flatMap(({ id, columns }) =>
      columns.flatMap((column) =>
        (
          unsent(id, column) ?? [
            ...lossesIn(source, column, told).filter(
              ({ id: loss }) => !isCured(loss, settings) && !BY_SETTING_ALONE.has(loss),
            ),
            ...(defaults && column.nullable && column.hasDefault === true
              ? [columnLoss('default-for-null', column)]
              : []),
            ...(adjusted && WITH_YEAR.has(column.type.kind)
              ? [columnLoss('time-adjuster', column)]
              : []),
          ]
        )
          .filter(({ id: loss }) => isTold(loss))
          .map((loss) => ({ ...loss, table: id })),
      ),
    );
}

/**
 * Losses that only a record's own schema shows, of columns that the connector read otherwise than
 * production's catalogue has them: those of one sampled row.
 */
export function lossesSeen(
  { connector, modes }: ValueSource,
  catalogue: SchemaCatalogue,
  { table, row }: { readonly table: TableId; readonly row: ConnectSchema | null },
): readonly LossyColumn[] {
  const columns = catalogue.get(tableName(table))?.columns ?? [];
  const names = columns.map(({ name }) => name);
  const nameOf = columnNames(names, modes.names ?? 'none');
  return (row?.fields ?? []).flatMap((field) => {
    const column = columns.find(({ name }) => name === nameOf(field.field));
    const losses = column === undefined ? [] : lossesOf(connector, field, column);
    return losses.filter(({ id }) => BY_SCHEMA_ALONE.has(id)).map((loss) => ({ ...loss, table }));
  });
}

/** Rows that differ; and the rest if it shows in the column already, not in some values only. */
function isTold(loss: LossId): boolean {
  const { effect, detection } = LOSSES[loss];
  return effect === 'differs' || detection.includes('doctor');
}

/**
 * What is lost of a column that is not sent at all; null if it is sent. Without settings, a column
 * that no setting has sent.
 */
function unsentBy(
  { connector }: ValueSource,
  settings: ConnectorSettings | null,
): (table: TableId, column: ColumnSchema) => ReturnType<typeof lossesOf> | null {
  const takes = settings === null ? () => true : selection(settings, 'column');
  const unknownDatatypes = settings === null || inspectSettings(settings).unknownDatatypes;
  return (table, column) => {
    const { name } = column;
    if (!takes(`${table.schema}.${table.name}.${name}`)) {
      return [columnLoss('column-excluded', column)];
    }
    if (column.generated === 'no' && isSent(connector, column, unknownDatatypes)) return null;
    const losses = lossesOf(connector, null, column);
    // A binlog has the generated columns too.
    return losses.length === 0 ? null : losses;
  };
}

/** A column of type `name` has one form in the snapshot, and by this setting one in the stream. */
function isCured(loss: LossId, settings: ConnectorSettings | null): boolean {
  return loss === 'name-null' && settings !== null && inspectSettings(settings).unknownDatatypes;
}

function lossesIn(
  source: ValueSource,
  column: ColumnSchema,
  told: boolean,
): ReturnType<typeof lossesOf> {
  try {
    return lossesOf(source.connector, expectedSchema(source, column), column, told);
  } catch (error) {
    if (error instanceof Problem) return [];
    throw error;
  }
}

/** How grave a loss is. */
export function levelOf(id: LossId): Diagnosis['level'] {
  const { effect, setting } = LOSSES[id];
  if (effect === 'stops' || IN_SILENCE.has(id)) return 'error';
  return effect === 'none' || setting === null ? 'ok' : 'warning';
}

/**
 * One finding per loss, with its columns by name: an error where connector or follower will stop,
 * a warning where a setting of the connector cures it. What none does is no trap of the
 * configuration, but told all the same.
 */
export function diagnoseLosses(columns: readonly LossyColumn[]): readonly Diagnosis[] {
  return [...Map.groupBy(columns, ({ id }) => id)].map(([id, same]) => {
    const { loses, setting, cure } = LOSSES[id];
    const names = same.map(({ table, column }) => `${tableName(table)}.${column}`);
    const more = names.length > NAMED ? ` and ${names.length - NAMED} more` : '';
    const by = setting === null ? '' : ` (${setting})`;
    return {
      id: `column.${id}`,
      level: levelOf(id),
      message: `${loses}${by}: ${names.slice(0, NAMED).join(', ')}${more}`,
      cure,
    };
  });
}
