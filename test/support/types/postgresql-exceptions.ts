/** Where a PostgreSQL shadow is not production's equal, by the loss it stands for. */
import type { LossId } from '../../../src/decode/losses/losses.ts';
import type { Exception, Refusal } from './exceptions.ts';
import type { PostgresqlRun } from './postgresql.ts';
import { tablesOf } from './postgresql-stage.ts';
import { POSTGRESQL_TABLES } from './postgresql-tables.ts';

type When = (run: PostgresqlRun) => boolean;

const always: When = () => true;
const avro: When = ({ encoding }) => encoding === 'avro';
const unknownOmitted: When = ({ modes }) => modes.unknown === 'false';
const inMode =
  <Mode extends keyof PostgresqlRun['modes']>(mode: Mode, ...values: readonly string[]): When =>
  ({ modes }) =>
    values.includes(modes[mode]);

/** Tables that a run does not write whole, and what it says of them. */
export const POSTGRESQL_REFUSALS: readonly Refusal<PostgresqlRun>[] = [
  // varbit-length
  { table: 't_varbit', column: 'c_varbit1', code: 'TYPE_UNKNOWN', when: always },
  // array-dimensions
  { table: 't_multi_texts', column: 'a_text', code: 'VALUE_UNREADABLE', when: always },
  { table: 't_multi_uuids', column: 'a_uuid', code: 'VALUE_UNREADABLE', when: always },
  // timestamp-range
  {
    table: 't_time_far',
    column: 'c_timestamp',
    code: 'VALUE_UNREADABLE',
    when: inMode('time', 'adaptive', 'adaptive_time_microseconds', 'microseconds'),
  },
  // interval-numeric
  {
    table: 't_interval_far',
    column: 'c_interval',
    code: 'VALUE_UNREADABLE',
    when: inMode('interval', 'numeric'),
  },
  // decimal-double
  {
    table: 't_numeric_far',
    column: 'c_numeric_38_0',
    code: 'APPLY_FAILED',
    when: inMode('decimal', 'double'),
  },
  {
    table: 't_money_far',
    column: 'c_money',
    code: 'APPLY_FAILED',
    when: inMode('decimal', 'double'),
  },
];

/** What a loss makes of values, where that can be said in short. */
const ONLY: Readonly<Partial<Record<LossId, NonNullable<Exception<PostgresqlRun>['only']>>>> = {
  'default-for-null': { production: null, shadow: 'not null' },
  'columns-omitted': { shadow: null },
  'arrays-omitted': { shadow: null },
  'name-null': { shadow: null },
};

/** The columns of one table that one loss concerns, in some runs; with the values that it takes. */
function lost(
  loss: LossId,
  when: When,
  table: string,
  columns: Readonly<Record<string, readonly number[] | 'all'>>,
  from?: 'snapshot' | 'stream',
): readonly Exception<PostgresqlRun>[] {
  const only = ONLY[loss];
  return Object.entries(columns).map(([column, values]) => ({
    loss,
    table,
    column,
    when,
    ...(values !== 'all' && { values }),
    ...(from !== undefined && { from }),
    ...(only !== undefined && { only }),
  }));
}

/** All columns of a table: the rows are written without them. */
function omitted(
  when: When,
  table: string,
  loss: 'columns-omitted' | 'arrays-omitted' = 'columns-omitted',
): readonly Exception<PostgresqlRun>[] {
  const columns = POSTGRESQL_TABLES.find(({ name }) => name === table)?.columns ?? [];
  const all = Object.fromEntries(columns.map(({ name }) => [name, 'all' as const]));
  return lost(loss, when, table, all);
}

const NULL_ELEMENTS = {
  a_enum_null: [0],
  a_ltree_null: [0],
  a_tsvector_null: [0],
  a_isbn_null: [0],
};

export const POSTGRESQL_EXCEPTIONS: readonly Exception<PostgresqlRun>[] = [
  ...lost('numeric-scale', inMode('decimal', 'precise'), 't_num', { c_numeric_zeros: [0, 2] }),
  ...lost('numeric-scale', inMode('decimal', 'precise'), 't_array', { a_numeric_zeros: [0] }),
  ...lost('numeric-nan', inMode('decimal', 'precise'), 't_num', {
    c_numeric_nan: [0, 1, 2],
    c_numeric_2_nan: [0],
  }),
  ...lost('decimal-double', inMode('decimal', 'double'), 't_num', {
    c_numeric: [1],
    c_numeric_zeros: [0, 2],
  }),
  ...lost('decimal-double', inMode('decimal', 'double'), 't_array', {
    a_numeric: [0],
    a_numeric_zeros: [0],
  }),
  ...lost('name-null', unknownOmitted, 't_text', { c_name: [0, 1] }, 'stream'),
  ...lost('date-calendar', always, 't_time', { c_date_gap: [0, 1, 2] }, 'snapshot'),
  ...lost('interval-infinity', always, 't_time', { c_interval_inf: [0, 1] }),
  ...lost('interval-numeric', inMode('interval', 'numeric'), 't_time', {
    c_interval_days: 'all',
    c_interval_months: [0, 1],
    c_interval3: [1],
    c_interval_far: [0, 1],
  }),
  ...lost('time-connect', inMode('time', 'connect'), 't_time', {
    c_time: [0, 2, 3],
    c_timestamp: [0, 1],
    c_timestamp_far: [0],
  }),
  ...lost('time-connect', inMode('time', 'connect'), 't_time_far', { c_timestamp: [0] }),
  ...lost('time-connect', inMode('time', 'connect'), 't_array', { a_timestamp: [0] }),
  ...lost('time-midnight', inMode('time', 'isostring'), 't_time', { c_time_24: [0] }),
  ...lost('timestamp-nanoseconds', inMode('time', 'nanoseconds'), 't_time', {
    c_timestamp_far: [0, 1, 2, 3],
    c_timestamp3_far: [0, 1, 2],
  }),
  ...lost('timestamp-nanoseconds', inMode('time', 'nanoseconds'), 't_text', {
    c_d_timestamp3: [1],
  }),
  ...lost('timestamp-nanoseconds', inMode('time', 'nanoseconds'), 't_time_far', {
    c_timestamp: [0],
  }),
  ...lost('timetz-offset', always, 't_time', { c_timetz_zone: [0, 1, 2] }),
  ...lost('array-bounds', always, 't_array', { a_bounds: [0] }),
  ...lost('array-null-element', always, 't_array', NULL_ELEMENTS),
  ...lost('array-time', always, 't_array', { a_time_micros: [0], a_timetz_micros: [0] }),
  ...lost('array-bits', always, 't_array', { a_bit3: [0] }),
  ...lost('array-dimensions', always, 't_multi_ints', {
    a_int4: [0],
    a_int2: [0],
    a_int8: [0],
    a_float4: [0],
    a_float8: [0],
    a_numeric: [0],
    a_timestamptz: [0],
    a_bool: [0],
    a_date: [0],
  }),
  ...omitted(unknownOmitted, 't_unknown'),
  ...omitted(unknownOmitted, 't_unknown_array'),
  ...omitted(always, 't_omitted_array', 'arrays-omitted'),
  ...lost('default-for-null', avro, 't_default', {
    c_int: 'all',
    c_text: 'all',
    c_numeric: 'all',
    c_bool: 'all',
    c_timestamp: 'all',
    c_now: 'all',
    c_date: 'all',
    c_jsonb: 'all',
    c_enum: 'all',
    c_uuid: 'all',
    // Computed from what arrived.
    c_generated: 'all',
  }),
];

/** Names of the tables that a run writes whole. */
export function writtenTables(run: PostgresqlRun): readonly string[] {
  const refused = POSTGRESQL_REFUSALS.filter(({ when }) => when(run)).map(({ table }) => table);
  return tablesOf(run)
    .map(({ name }) => name)
    .filter((name) => !refused.includes(name));
}
