import { describe, expect, test } from 'vitest';
import type { LogRecord } from '../../../src/change/record.ts';
import { LOSSES } from '../../../src/decode/losses/losses.ts';
import { isUnderstudyError } from '../../../src/errors/understudy-error.ts';
import { configKeys } from '../../support/config-table.ts';
import {
  captureDecoder,
  capturedCatalogue,
  capturedRecords,
  DEFAULT_MODES,
} from '../../support/debezium-records.ts';
import {
  compareWithTruth,
  describeDifferences,
  explanation,
  type Capture,
} from '../../support/truth.ts';

type Modes = Capture['modes'];

const pg = (
  name: string,
  prefix: string,
  modes: Modes,
  encoding: Capture['encoding'] = 'json',
): Capture => ({
  ...{ name: `pg.${name}`, encoding, connector: 'postgresql', database: 'types', prefix },
  modes: { ...DEFAULT_MODES, ...modes },
});
const BINLOG_MODES: Modes = {
  ...DEFAULT_MODES,
  time: 'adaptive_time_microseconds',
  bigintUnsigned: 'long',
};
const binlog = (
  connector: 'mysql' | 'mariadb',
  name: string,
  prefix: string,
  modes: Modes,
  encoding: Capture['encoding'] = 'json',
): Capture => ({
  ...{ name: `${connector}.${name}`, encoding, connector, database: connector, prefix },
  modes: { ...BINLOG_MODES, ...modes },
});

/** Of both connectors; `p` is what their topics begin with. */
const BOTH = (['mysql', 'mariadb'] as const).flatMap((connector) => {
  const p = connector === 'mysql' ? 'obs_my' : 'obs_ma';
  return [
    binlog(connector, 'types.default', p, {}),
    binlog(
      connector,
      'types.default',
      `${p}avro`,
      { bigintUnsigned: 'precise', names: 'avro' },
      'avro',
    ),
    binlog(connector, 'types.connect', `${p}conn`, { time: 'connect' }),
    binlog(connector, 'types.connect-string-precise-hex-norepl', `${p}alt`, {
      ...{ time: 'connect', decimal: 'string', bigintUnsigned: 'precise', binary: 'hex' },
    }),
    binlog(connector, 'types.isostring-double-base64-propagate', `${p}iso`, {
      ...{ time: 'isostring', decimal: 'double', binary: 'base64' },
    }),
    binlog(connector, 'types.microseconds-tinyint1bool', `${p}bool`, {
      ...{ time: 'microseconds', binary: 'base64-url-safe' },
    }),
    binlog(connector, 'types.nanoseconds', `${p}nano`, { time: 'nanoseconds' }),
    binlog(connector, 'probe.alias-snapshot', `${p}al2`, {}),
  ];
});

const CAPTURES: readonly Capture[] = [
  pg('types.default', 'obs_pg', {}),
  pg('types.default', 'obs_pgavro', { names: 'avro' }, 'avro'),
  pg('types.avro_unicode', 'obs_pgavrou', { names: 'avro_unicode' }, 'avro'),
  pg('types.isostring-string-hex-ivstring-unknown-propagate', 'obs_pgiso', {
    ...{ time: 'isostring', decimal: 'string', binary: 'hex', interval: 'string' },
  }),
  pg('types.connect-double-base64-map-ivstring', 'obs_pgconn', {
    ...{ time: 'connect', decimal: 'double', binary: 'base64', hstore: 'map', interval: 'string' },
  }),
  pg('types.microseconds', 'obs_pgus', { time: 'microseconds' }),
  pg('types.nanoseconds-b64url', 'obs_pgnano', { time: 'nanoseconds', binary: 'base64-url-safe' }),
  pg('types.adaptive_time_microseconds', 'obs_pgatm', { time: 'adaptive_time_microseconds' }),
  pg('probe.interval-infinity-numeric', 'obs_piv', {}),
  pg('probe.interval-infinity-string', 'obs_pivs', { interval: 'string' }),
  pg('probe.multidim', 'obs_parr2', {}),
  pg('probe.name', 'obs_pname', {}),
  pg('probe.nan-double', 'obs_pnand', { decimal: 'double' }),
  pg('probe.nan-precise', 'obs_pnan', {}),
  pg('probe.nanoseconds-infinity', 'obs_pnano3', { time: 'nanoseconds' }),
  pg('probe.nanoseconds-time', 'obs_pnano2', { time: 'nanoseconds' }),
  pg('probe.toastfull-generated-partitioned', 'obs_pmisc', {}),
  ...BOTH,
  binlog('mysql', 'probe.time-adjuster-off', 'obs_q3', {}),
];

/** Made anew on each run, or numbered by the database: no two captures have the same. */
const OF_ITS_RUN = /^(?:t_def\.(?:d_now|d_ts|idn|g_v|g_s|gen)|al\.a_ts)$/;

/** Of a form of records, not of values. */
const OF_FORMS = 'source.modes.deletes';

test('every value of every mode occurs among the captures', () => {
  const values = configKeys()
    .filter(({ key }) => key.startsWith('source.modes.') && key !== OF_FORMS)
    .flatMap(({ key, values: all }) =>
      all.split(', ').map((value) => [key.slice(13), value.slice(1, -1)] as const),
    );
  const missing = values.filter(
    ([mode, value]) =>
      !CAPTURES.some(
        ({ modes }) => (modes as Readonly<Record<string, string | undefined>>)[mode] === value,
      ),
  );
  expect(values.length).toBeGreaterThan(20);
  expect(missing).toEqual([['names', 'none']]);
});

describe('captured rows read as the database prints them, but for what the connector lost', () => {
  test.each(CAPTURES.map((capture) => [`${capture.name} ${capture.encoding}`, capture] as const))(
    '%s',
    (_, capture) => {
      const { compared, differences, refusals } = compareWithTruth(capture);
      const lasting = differences.filter(
        ({ table, column }) => !OF_ITS_RUN.test(`${table}.${column.name}`),
      );
      const unexplained = lasting.filter((difference) => {
        const loss = explanation(difference);
        return loss === null || LOSSES[loss].effect === 'none';
      });
      expect(compared).toBeGreaterThan(0);
      expect(describeDifferences(unexplained)).toEqual([]);
      expect({
        lost: describeDifferences(lasting),
        refused: refusals.map(({ table, column, code }) => `${table}.${column}: ${code}`),
      }).toMatchSnapshot();
    },
  );
});

describe('rows without schema read as the same rows with one', () => {
  /** Forms that no mode of the connector tells. */
  const UNTOLD: Readonly<Record<string, readonly string[]>> = {
    // A converter of its own makes booleans of TINYINT(1).
    'mysql.types.microseconds-tinyint1bool': ['t_num'],
    'mariadb.types.microseconds-tinyint1bool': ['t_num'],
  };

  test.each(
    CAPTURES.filter(({ encoding }) => encoding === 'json').map(
      (capture) => [capture.name, capture] as const,
    ),
  )('%s', (name, capture) => {
    const { connector, database, prefix, modes } = capture;
    const catalogue = capturedCatalogue(database);
    const decoder = captureDecoder(prefix, catalogue, modes, null, 'debezium', connector);
    let rows = 0;
    for (const record of capturedRecords(name)) {
      const read = (each: LogRecord): unknown => {
        try {
          const event = decoder.decode(each);
          return event.kind === 'change' ? { ...event, bytes: 0 } : event.kind;
        } catch (error) {
          if (!isUnderstudyError(error)) throw error;
          return [error.code, error.context];
        }
      };
      const table = record.topic.split('.').at(-1) ?? '';
      if (!record.topic.includes('.') || UNTOLD[name]?.includes(table) === true) continue;
      expect(read({ ...record, key: bare(record.key), value: bare(record.value) })).toEqual(
        read(record),
      );
      rows += 1;
    }
    expect(rows).toBeGreaterThan(0);
  });

  function bare(bytes: Buffer | null): Buffer | null {
    const text = bytes?.toString() ?? '';
    const payload = text.indexOf('"payload":');
    return bytes === null ? null : Buffer.from(text.slice(payload + 10, -1));
  }
});
