/** Where a shadow of MySQL or MariaDB is not production's equal, by the loss it stands for. */
import type { LossId } from '../../../src/decode/losses/losses.ts';
import type { BinlogRun } from './binlog.ts';
import { binlogTablesOf, type BinlogEngine } from './binlog-stage.ts';
import type { Exception, Refusal } from './exceptions.ts';

type When = (run: BinlogRun) => boolean;

const always: When = () => true;
const avro: When = ({ encoding }) => encoding === 'avro';
const notNanoseconds: When = ({ modes }) => modes.time !== 'nanoseconds';
const inMode =
  <Mode extends keyof BinlogRun['modes']>(mode: Mode, ...values: readonly string[]): When =>
  ({ modes }) =>
    values.includes(modes[mode]);

/** What a loss makes of values, where that can be said in short. */
const ONLY: Readonly<Partial<Record<LossId, NonNullable<Exception<BinlogRun>['only']>>>> = {
  'default-for-null': { production: null, shadow: 'not null' },
  'zero-date': { shadow: null },
};

/** The columns of one table that one loss concerns, in some runs; with the values that it takes. */
function lost(
  loss: LossId,
  when: When,
  table: string,
  columns: Readonly<Record<string, readonly number[] | 'all'>>,
  from?: 'snapshot' | 'stream',
): readonly Exception<BinlogRun>[] {
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

/** Tables that a run does not write whole, and what it says of them. */
const REFUSED: readonly Refusal<BinlogRun>[] = [
  // decimal-double
  {
    table: 't_num_far',
    column: 'c_decimal_65_30',
    code: 'APPLY_FAILED',
    when: inMode('decimal', 'double'),
  },
  // default-for-null
  { table: 't_default_binary', column: 'c_binary', code: 'APPLY_FAILED', when: avro },
];

export const BINLOG_REFUSALS: Readonly<Record<BinlogEngine, readonly Refusal<BinlogRun>[]>> = {
  mysql: [
    ...REFUSED,
    // charset-undefined
    { table: 't_charset_lost', column: 'c_latin1', code: 'VALUE_UNREADABLE', when: always },
  ],
  mariadb: [
    ...REFUSED,
    // charset-misread
    { table: 't_charset_lost', column: 'c_cp932', code: 'VALUE_UNREADABLE', when: always },
  ],
};

const COMMON: readonly Exception<BinlogRun>[] = [
  ...lost(
    'float-snapshot',
    always,
    't_num',
    { c_float_digits: [0, 1, 2, 3, 4], c_float24: [1] },
    'snapshot',
  ),
  ...lost('time-beyond-day', inMode('time', 'connect', 'isostring'), 't_time', {
    c_time_wide: [0, 1, 2, 3],
    c_time3_wide: [0, 1, 2],
    c_time6_wide: [0, 1, 2, 3],
  }),
  ...lost('time-midnight', inMode('time', 'isostring'), 't_time', { c_time_24: [0] }),
  ...lost('time-connect', inMode('time', 'connect'), 't_time', {
    c_time6: [0, 1],
    c_datetime6: [0, 1],
    c_datetime6_far: [0, 1],
  }),
  ...lost(
    'charset-confused',
    always,
    't_charset',
    { c_hp8_confused: [0], c_keybcs2: [0] },
    'stream',
  ),
  ...lost('datetime-calendar', always, 't_time', { c_datetime_gap: [0] }, 'snapshot'),
  ...lost('zero-date', always, 't_zero', {
    c_date: 'all',
    c_datetime: 'all',
    c_datetime6: [0, 1],
    c_timestamp: [0],
  }),
  ...lost('decimal-double', inMode('decimal', 'double'), 't_num', {
    c_decimal_65_30: [1, 2],
    c_decimal_20_u: [1],
  }),
  ...lost('default-for-null', avro, 't_default', {
    c_int: 'all',
    c_varchar: 'all',
    c_decimal: 'all',
    c_bool: 'all',
    c_bit: 'all',
    c_datetime: 'all',
    c_now: 'all',
    c_enum: 'all',
    c_bigint_u: 'all',
    c_time: 'all',
    c_set: 'all',
    c_invisible: 'all',
    // Computed from what arrived.
    c_virtual: 'all',
    c_stored: 'all',
  }),
];

export const BINLOG_EXCEPTIONS: Readonly<Record<BinlogEngine, readonly Exception<BinlogRun>[]>> = {
  mysql: [
    ...COMMON,
    // As nanoseconds it is NULL, like any date that early.
    ...lost('datetime-calendar', notNanoseconds, 't_zero', { c_datetime: [2] }, 'snapshot'),
    ...lost('timestamp-nanoseconds', inMode('time', 'nanoseconds'), 't_time', {
      c_datetime_far: [0, 1, 2],
      c_datetime6_far: [0, 1, 2],
      c_datetime_gap: [0],
    }),
    ...lost('year-zero', always, 't_own', { c_year0: [0] }, 'snapshot'),
    ...lost('json-rewritten', always, 't_own', { c_json_typed: [0] }),
  ],
  mariadb: [
    ...COMMON,
    ...lost('datetime-calendar', always, 't_zero', { c_datetime: [2] }, 'snapshot'),
  ],
};

/** Names of the tables that a run writes whole. */
export function binlogWrittenTables(engine: BinlogEngine, run: BinlogRun): readonly string[] {
  const refused = BINLOG_REFUSALS[engine].filter(({ when }) => when(run));
  return binlogTablesOf(engine, run)
    .map(({ name }) => name)
    .filter((name) => refused.every(({ table }) => table !== name));
}
