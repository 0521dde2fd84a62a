/**
 * What the connector, as it is set, loses of the columns that there are: the decode room's table of
 * losses, asked column by column.
 */
import { tableName, type TableId } from '../change/table-id.ts';
import { expectedSchema, lossesOf, type ValueSource } from '../decode/column.ts';
import { LOSSES, type LossId } from '../decode/losses/losses.ts';
import { Problem } from '../decode/problem.ts';
import type { Diagnosis } from '../dialect/dialect.ts';
import type { ColumnSchema, SchemaCatalogue } from '../schema/table-schema.ts';

export interface LossyColumn {
  readonly id: LossId;
  readonly table: TableId;
  readonly column: string;
  /** The connector's setting that loses it; null where no setting does, and none helps. */
  readonly setting: string | null;
  readonly loses: string;
  readonly cure: string;
}

/**
 * Losses by settings that leave no trace in the form of a column, so that it tells nothing of
 * them: the connector's settings are looked at for these by themselves.
 */
const BY_SETTING_ALONE: ReadonlySet<LossId> = new Set(['time-adjuster']);

/** How many columns a message names. */
const NAMED = 8;

/**
 * Losses that make a difference to a row of an included table; partitions are left to the table
 * they belong to. Columns whose form a mode decides that is not known are passed over.
 */
export function lossyColumns(
  source: ValueSource,
  catalogue: SchemaCatalogue,
  includes: (table: TableId) => boolean,
): readonly LossyColumn[] {
  return [...catalogue.values()]
    .filter(({ id, partitionOf }) => includes(id) && partitionOf === undefined)
    .flatMap(({ id, columns }) =>
      columns.flatMap((column) =>
        lossesIn(source, column)
          .filter(
            ({ id: loss }) => LOSSES[loss].effect === 'differs' && !BY_SETTING_ALONE.has(loss),
          )
          .map((loss) => ({ ...loss, table: id })),
      ),
    );
}

function lossesIn(source: ValueSource, column: ColumnSchema): ReturnType<typeof lossesOf> {
  try {
    return lossesOf(source.connector, expectedSchema(source, column), column);
  } catch (error) {
    if (error instanceof Problem) return [];
    throw error;
  }
}

/**
 * One finding per loss, with its columns by name: a warning where a setting of the connector
 * cures it. What none does is no trap of the configuration, but told all the same.
 */
export function diagnoseLosses(columns: readonly LossyColumn[]): readonly Diagnosis[] {
  return [...Map.groupBy(columns, ({ id }) => id)].map(([id, same]) => {
    const { loses, setting, cure } = LOSSES[id];
    const names = same.map(({ table, column }) => `${tableName(table)}.${column}`);
    const more = names.length > NAMED ? ` and ${names.length - NAMED} more` : '';
    const by = setting === null ? '' : ` (${setting})`;
    return {
      id: `column.${id}`,
      level: setting === null ? 'ok' : 'warning',
      message: `${loses}${by}: ${names.slice(0, NAMED).join(', ')}${more}`,
      cure,
    };
  });
}
