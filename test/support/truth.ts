/** Captured rows as our decoder reads them, beside what the database itself printed of them. */
import type { SourcePosition } from '../../src/change/position.ts';
import type { LogRecord } from '../../src/change/record.ts';
import { tableName } from '../../src/change/table-id.ts';
import type { KnownValue } from '../../src/change/value.ts';
import { expectedSchema, lossesOf } from '../../src/decode/column.ts';
import type { ConnectField, ConnectSchema } from '../../src/decode/envelope/connect-schema.ts';
import type { LossId } from '../../src/decode/losses/losses.ts';
import type { ConnectorModes } from '../../src/decode/modes.ts';
import { isUnderstudyError } from '../../src/errors/understudy-error.ts';
import type { ColumnSchema, ColumnType, SchemaCatalogue } from '../../src/schema/table-schema.ts';
import {
  captureDecoder,
  capturedCatalogue,
  capturedRecords,
  capturedRegistry,
  capturedRows,
} from './debezium-records.ts';

export interface Capture {
  readonly name: string;
  readonly encoding: 'json' | 'avro';
  readonly connector: SourcePosition['connector'];
  readonly database: 'types' | 'mysql' | 'mariadb';
  readonly prefix: string;
  readonly modes: ConnectorModes;
}

export interface Difference {
  readonly table: string;
  readonly column: ColumnSchema;
  readonly id: number;
  readonly ours: string | null;
  readonly theirs: string | null;
  /** What the code says is lost of the column as it was sent. */
  readonly losses: readonly LossId[];
}

/** A value that the decoder refused, with the error's code; one of every column. */
export interface Refusal {
  readonly table: string;
  readonly column: string;
  readonly code: string;
}

export interface Comparison {
  readonly compared: number;
  readonly differences: readonly Difference[];
  readonly refusals: readonly Refusal[];
}

/**
 * Reads every row of a capture that has a row in the database's own print. Columns whose length is
 * not sent are read as if they had one, so that the row's other columns are seen.
 */
export function compareWithTruth(capture: Capture): Comparison {
  const known = capturedCatalogue(capture.database);
  const catalogue = withLengths(known);
  const original = (table: string, column: string): ColumnSchema | undefined =>
    known.get(table)?.columns.find(({ name }) => name === column);
  const rows = capturedRows(capture.database);
  const registry = capture.encoding === 'avro' ? capturedRegistry() : null;
  const { prefix, modes, connector } = capture;
  const decoder = captureDecoder(prefix, catalogue, modes, registry, 'debezium', connector);
  const differences: Difference[] = [];
  const refusals = new Map<string, Refusal>();
  let compared = 0;
  for (const record of capturedRecords(capture.name, capture.encoding)) {
    try {
      const event = decoder.decode(record);
      if (event.kind !== 'change' || event.after === null || event.op === 'update') continue;
      const { shape, values } = event.after;
      const id = Number(values[shape.index.get('id') ?? 0]);
      const name = tableName(event.table);
      const truth = rows[name]?.find((row) => [id, id - 100].map(String).includes(row['id'] ?? ''));
      if (truth === undefined) continue;
      const sent = sentFields(record, capture.encoding);
      shape.columns.forEach((columnName, i) => {
        const value = values[i] ?? null;
        const column = catalogue.get(name)?.columns.find((each) => each.name === columnName);
        if (columnName === 'id' || typeof value === 'symbol' || column === undefined) return;
        compared += 1;
        const ours = print(value, connector === 'postgresql');
        const theirs = truth[columnName] ?? null;
        if (same(column.type, ours, theirs, connector)) return;
        const schema = sent.get(columnName) ?? expectedSchema({ connector, modes }, column);
        const losses = lossesOf(connector, schema, original(name, columnName) ?? column).map(
          (loss) => loss.id,
        );
        differences.push({ table: event.table.name, column, id, ours, theirs, losses });
      });
    } catch (error) {
      if (!isUnderstudyError(error)) throw error;
      const { table, column } = error.context;
      const refusal = { table: String(table), column: String(column), code: error.code };
      refusals.set(JSON.stringify(refusal), refusal);
    }
  }
  return { compared, differences, refusals: [...refusals.values()] };
}

/**
 * The loss that explains a difference: one that the code names for the column as it was sent, or a
 * default in place of NULL, which no schema tells.
 */
export function explanation(difference: Difference): LossId | null {
  const fits = (id: LossId): boolean => FITS[id]?.(difference) ?? true;
  return (
    difference.losses.find(fits) ??
    (difference.theirs === null && difference.ours !== null ? 'default-for-null' : null)
  );
}

/** Where a column has several losses: which difference each of them makes. */
const FITS: Partial<Record<LossId, (difference: Difference) => boolean>> = {
  'numeric-nan': ({ ours, theirs }) => ours === null && /NaN|Infinity/.test(theirs ?? ''),
  'numeric-scale': () => false,
  'decimal-double': ({ ours, theirs }) =>
    Number(ours) === Number(theirs?.replaceAll(/[$,]/g, '')) || ours?.startsWith('{') === true,
  'array-bounds': ({ theirs }) => theirs?.startsWith('[') === true,
  'array-dimensions': ({ theirs }) => theirs?.startsWith('{{') === true,
  'array-null-element': ({ ours, theirs }) => ours === null && theirs?.includes('NULL') === true,
  'zero-date': ({ theirs }) => /-00|^0000/.test(theirs ?? ''),
  'char-binary': ({ theirs }) => theirs !== null,
  'datetime-calendar': ({ theirs }) => /^(?:1582|0000-(?!00))/.test(theirs ?? ''),
  'time-connect': ({ ours, theirs }) =>
    ours !== null && !/^(?:1582|0000|\d{4}-00|\d{4}-\d\d-00)/.test(theirs ?? ''),
  'time-adjuster': ({ theirs }) => theirs?.startsWith('00') === true,
  'timestamp-nanoseconds': ({ ours }) => ours === null,
  'time-beyond-day': ({ ours, theirs }) => ours === null && theirs !== null,
  'time-midnight': ({ theirs }) => theirs?.startsWith('24:00:00') === true,
  'interval-infinity': ({ theirs }) => theirs?.endsWith('infinity') === true,
};

/**
 * `loss: table.column#ids: ours | theirs`, one line for the rows of a column that differ alike; a
 * row of the snapshot has an id below 100, the same row of the stream is 100 beyond it.
 */
export function describeDifferences(differences: readonly Difference[]): readonly string[] {
  const lines = Map.groupBy(differences, (difference) => {
    const { table, column, ours, theirs } = difference;
    return JSON.stringify([explanation(difference), `${table}.${column.name}`, ours, theirs]);
  });
  return [...lines].map(([line, alike]) => {
    const [loss, column, ours, theirs] = JSON.parse(line) as readonly string[];
    const ids = alike.map(({ id }) => id).join(',');
    return `${String(loss)}: ${String(column)}#${ids}: ${String(ours)} | ${String(theirs)}`;
  });
}

function withLengths(catalogue: SchemaCatalogue): SchemaCatalogue {
  return new Map(
    [...catalogue].map(([name, table]) => [
      name,
      {
        ...table,
        columns: table.columns.map((column) =>
          column.type.sql.startsWith('bit varying')
            ? { ...column, type: { ...column.type, sql: 'bit(12)', length: 12 } }
            : column,
        ),
      },
    ]),
  );
}

function sentFields(
  record: LogRecord,
  encoding: Capture['encoding'],
): ReadonlyMap<string, ConnectSchema> {
  if (encoding === 'avro' || record.value === null) return new Map();
  const { schema } = JSON.parse(record.value.toString()) as { schema?: ConnectSchema };
  const after = schema?.fields?.find(({ field }) => field === 'after');
  return new Map((after?.fields ?? []).map((field: ConnectField) => [field.field, field]));
}

/** As the database prints a value, or its client in hexadecimal. */
function print(value: KnownValue, escaped: boolean): string | null {
  if (value === null) return null;
  if (typeof value === 'boolean') return String(value);
  if (value instanceof Uint8Array) {
    return `${escaped ? String.raw`\x` : '0x'}${Buffer.from(value).toString('hex')}`;
  }
  if (typeof value === 'string') return value;
  return `{${value.map((item) => element(print(item, escaped))).join(',')}}`;
}

function element(text: string | null): string {
  if (text === null) return 'NULL';
  const bare = text !== '' && text.toUpperCase() !== 'NULL' && !/[{},"\\\s]/.test(text);
  const short = text === 'true' ? 't' : text === 'false' ? 'f' : text;
  return bare ? short : `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
}

/** Whether the database would read both texts as the same value. */
function same(
  type: ColumnType,
  ours: string | null,
  theirs: string | null,
  connector: Capture['connector'],
): boolean {
  if (ours === theirs) return true;
  if (ours === null || theirs === null) return false;
  const [a, b] = [ours, theirs].map((text) => canonical(type, text, connector));
  return a === b;
}

function canonical(type: ColumnType, text: string, connector: Capture['connector']): string {
  const ofBinlog = connector !== 'postgresql';
  const bare = text.replace(/(\.\d*?)0+(?=$|\+)/, '$1').replace(/\.(?=$|\+)/, '');
  switch (type.kind) {
    case 'int16':
    case 'int32':
    case 'int64':
      return String(BigInt(text));
    case 'float32':
    case 'float64':
      return String(Number(text));
    case 'numeric':
      return /[eE]/.test(text) ? String(Number(text)) : bare;
    case 'money':
      return text
        .replaceAll(/[$,]/g, '')
        .replace(/(\.\d*?)0+$/, '$1')
        .replace(/\.$/, '');
    case 'char':
      return text.trimEnd();
    case 'time':
    case 'timestamp':
      return ofBinlog ? bare : text;
    case 'timestamptz':
      return ofBinlog ? bare.replace(/\+00$/, '') : text;
    case 'interval':
      return interval(text);
    case 'json':
      return ofBinlog ? jsonOf(text) : text;
    case 'other':
      // Shapes, and addresses of one host.
      return text.replace(/\/(?:32|128)$/, '').replaceAll(/(\d)\.0(?!\d)/g, '$1');
    case 'array':
      return type.element === undefined ? text : canonicalArray(type.element, text);
    default:
      return text;
  }
}

/** Of plain elements; texts that need quotes stay as they are. */
function canonicalArray(item: ColumnType, text: string): string {
  // Boxes are the only elements that are set apart by something else than a comma.
  if (item.sql === 'box')
    return canonical(item, text.replaceAll('","', ';').replaceAll('"', ''), 'postgresql');
  if (!/^\{[^{}"]*\}$/.test(text) || text === '{}') return text;
  const items = text.slice(1, -1).split(',');
  const each = items.map((part) => (part === 'NULL' ? part : canonical(item, part, 'postgresql')));
  return `{${each.join(',')}}`;
}

/** JSON as the server would store it: numbers by value, keys in one order. */
function jsonOf(text: string): string {
  const sorted = (value: unknown): unknown =>
    Array.isArray(value)
      ? value.map(sorted)
      : typeof value === 'object' && value !== null
        ? Object.fromEntries(
            Object.entries(value)
              .toSorted(([a], [b]) => (a < b ? -1 : 1))
              .map(([key, item]) => [key, sorted(item)]),
          )
        : value;
  return JSON.stringify(sorted(JSON.parse(text)));
}

const ISO = /^P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)D)?T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?[\d.]+)S)?$/;
const PRINTED =
  /^(?:(-?\d+) years? ?)?(?:([-+]?\d+) mons? ?)?(?:([-+]?\d+) days? ?)?(?:([-+]?)(\d+):(\d+):([\d.]+))?$/;

/** Months, days and seconds. */
function interval(text: string): string {
  const iso = ISO.exec(text);
  const n = (part: string | undefined): number => Number(part ?? 0);
  if (iso !== null) {
    const [, years, months, days, hours, minutes, seconds] = iso;
    const clock = n(hours) * 3600 + n(minutes) * 60 + n(seconds);
    return [n(years) * 12 + n(months), n(days), clock.toFixed(6)].join(' ');
  }
  const printed = PRINTED.exec(text);
  if (printed === null) return text;
  const [, years, months, days, sign, hours, minutes, seconds] = printed;
  const clock = (sign === '-' ? -1 : 1) * (n(hours) * 3600 + n(minutes) * 60 + n(seconds));
  return [n(years) * 12 + n(months), n(days), clock.toFixed(6)].join(' ');
}
