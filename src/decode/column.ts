/**
 * What decoding asks of one column, looked up in the table of its connector's types: its decoder,
 * the schema to expect where a record has none, how it says that it was not sent, and what the
 * connector loses of it. Every pair of schema and type has one exact inverse or is TYPE_UNKNOWN;
 * nothing is decided by how a value looks.
 */
import type { SourcePosition } from '../change/position.ts';
import type { ColumnSchema } from '../schema/table-schema.ts';
import type { ConnectSchema } from './envelope/connect-schema.ts';
import { LOSSES, type LossId } from './losses/losses.ts';
import type { ConnectorModes } from './modes.ts';
import { TYPE_TABLES } from './types/tables.ts';
import {
  decoderIn,
  formOf,
  type Availability,
  type Sending,
  type TypeEntry,
  type TypeTable,
  type ValueDecoder,
} from './types/type-table.ts';

/** Whose records are read, and how it writes values. */
export interface ValueSource {
  readonly connector: SourcePosition['connector'];
  readonly modes: ConnectorModes;
}

/** All that is known of a column in one schema. */
export interface ColumnReading {
  readonly decode: ValueDecoder;
  readonly availability: Availability | null;
  /** Why NULL cannot be believed in this schema, or null where it can. */
  readonly lostNull: string | null;
}

/**
 * How a field is to be read. A type that cannot be decoded gives a decoder that throws
 * TYPE_UNKNOWN: NULL in such a column is still NULL.
 */
export function columnReading(
  source: ValueSource,
  schema: ConnectSchema,
  column: ColumnSchema,
): ColumnReading {
  const { type } = column;
  const entry = TYPE_TABLES[source.connector].entryOf(type);
  const sent = { ...source, schema, type };
  return {
    decode: decoderIn(entry, sent),
    availability: entry.unavailable?.(sent) ?? null,
    lostNull: formOf(entry, schema)?.lostNull?.(column) ?? null,
  };
}

/**
 * The Connect schema that a connector with the declared modes gives to a column of the catalogue:
 * what records without schema leave out. Throws a Problem where a mode is needed that is not
 * declared.
 */
export function expectedSchema(source: ValueSource, column: ColumnSchema): ConnectSchema {
  const { type } = column;
  return TYPE_TABLES[source.connector].entryOf(type).expected(type, source.modes);
}

/** What the connector loses of a column as it sends it now. */
export interface ColumnLoss {
  readonly column: string;
  readonly id: LossId;
  /** The connector's setting that causes it, or null where no setting does. */
  readonly setting: string | null;
  readonly loses: string;
  readonly cure: string;
}

/**
 * What is lost of a column that arrives in this schema: an observed one, or what `expectedSchema`
 * makes of the connector's modes; null: the column is not sent. `told`: a record's own schema says
 * so. Says what may be lost, not that it was.
 */
export function lossesOf(
  connector: SourcePosition['connector'],
  schema: ConnectSchema | null,
  column: ColumnSchema,
  told = true,
): readonly ColumnLoss[] {
  const table = TYPE_TABLES[connector];
  const untold = schema === null || told ? [] : (table.entryOf(column.type).untold ?? []);
  const unsent = unsentLoss(table, column);
  const ids = new Set<LossId>(
    schema === null ? [unsent] : lossIds(table, table.entryOf(column.type), schema, column.type),
  );
  for (const { id, applies } of untold) if (applies(column.type)) ids.add(id);
  return [...ids]
    .filter((id) => LOSSES[id].connectors.includes(connector))
    .map((id) => columnLoss(id, column));
}

/** A loss of the table, of this column. */
export function columnLoss(id: LossId, column: ColumnSchema): ColumnLoss {
  const { setting, loses, cure } = LOSSES[id];
  return { column: column.name, id, setting, loses, cure };
}

function unsentLoss(table: TypeTable, { generated, type }: ColumnSchema): LossId {
  if (generated !== 'no') return 'generated-absent';
  return table.sending(type) === 'never' ? 'arrays-omitted' : 'columns-omitted';
}

/** When the connector sends a column of this type. */
export function sendingOf(connector: SourcePosition['connector'], column: ColumnSchema): Sending {
  return TYPE_TABLES[connector].sending(column.type);
}

/** Whether a NULL in an update may stand for an unchanged large value of such a column. */
export function nullMayBeUnsent(source: ValueSource, column: ColumnSchema): boolean {
  const schema = expectedSchema(source, column);
  return columnReading(source, schema, column).availability?.nullIsDoubtful === true;
}

/** Whether the connector sends a column of this type, by its include.unknown.datatypes. */
export function isSent(
  connector: SourcePosition['connector'],
  column: ColumnSchema,
  includesUnknown: boolean,
): boolean {
  const sending = sendingOf(connector, column);
  return sending === 'always' || (sending === 'opt-in' && includesUnknown);
}

function* lossIds(
  table: TypeTable,
  entry: TypeEntry,
  schema: ConnectSchema,
  type: ColumnSchema['type'],
): Generator<LossId> {
  const form = formOf(entry, schema);
  for (const { id, applies } of form?.losses ?? []) if (applies(type)) yield id;
  const { element } = type;
  if (schema.items !== undefined && element !== undefined) {
    yield* lossIds(table, table.elementOf(element), schema.items, element);
  }
}
