/** The type matrix on PostgreSQL: its runs, its SQL, and how two databases are compared. */
import pg from 'pg';
import type { ConnectorConfig } from '../connect-rest.ts';
import type { Cell, Rows } from './exceptions.ts';
import { packRuns, playedRuns, type Run } from './runs.ts';
import type { SqlWriter } from './type-table.ts';

export const POSTGRESQL_MODES = {
  time: [
    'adaptive',
    'adaptive_time_microseconds',
    'connect',
    'isostring',
    'microseconds',
    'nanoseconds',
  ],
  decimal: ['precise', 'double', 'string'],
  binary: ['bytes', 'base64', 'base64-url-safe', 'hex'],
  hstore: ['json', 'map'],
  interval: ['numeric', 'string'],
  names: ['none', 'avro', 'avro_unicode'],
  unknown: ['true', 'false'],
  propagate: ['no', 'yes'],
} as const;

export type PostgresqlRun = Run<keyof typeof POSTGRESQL_MODES>;

/** The settings that we publish, as they are: what cannot be converted stops the connector. */
export const POSTGRESQL_PUBLISHED: PostgresqlRun = {
  name: 'published',
  encoding: 'schema',
  modes: {
    time: 'adaptive',
    decimal: 'string',
    binary: 'bytes',
    hstore: 'json',
    interval: 'string',
    names: 'none',
    unknown: 'true',
    propagate: 'no',
  },
};

export const POSTGRESQL_RUNS: readonly PostgresqlRun[] = [
  ...packRuns(POSTGRESQL_MODES),
  POSTGRESQL_PUBLISHED,
];

/** Those that the tests play this time. */
export const POSTGRESQL_PLAYED = playedRuns(POSTGRESQL_RUNS);

/** The connector's settings for a run's modes; none are needed for the published ones. */
export function postgresqlModeSettings(run: PostgresqlRun): ConnectorConfig {
  if (run === POSTGRESQL_PUBLISHED) return {};
  const { encoding, modes } = run;
  return {
    'time.precision.mode': modes.time,
    'decimal.handling.mode': modes.decimal,
    'binary.handling.mode': modes.binary,
    'hstore.handling.mode': modes.hstore,
    'interval.handling.mode': modes.interval,
    'field.name.adjustment.mode': modes.names,
    // Avro takes no name of a schema as it is, whatever the fields are called.
    ...(encoding === 'avro' && {
      'schema.name.adjustment.mode': modes.names === 'avro_unicode' ? 'avro_unicode' : 'avro',
    }),
    'include.unknown.datatypes': modes.unknown,
    ...(modes.propagate === 'yes' && { 'column.propagate.source.type': '.*' }),
    // What the connector loses is to be seen, not to stop it.
    'event.converting.failure.handling.mode': 'warn',
  };
}

export const POSTGRESQL: SqlWriter = {
  quote: pg.escapeIdentifier,
  literal: (value) => pg.escapeLiteral(value),
};

/** Sets all columns of a form's rows to what the snapshot's rows hold. */
export function fillPostgresql(name: string, columns: readonly string[], above: number): string {
  const sets = columns.map((column) => `${column} = s.${column}`).join(', ');
  return `UPDATE ${name} t SET ${sets} FROM ${name} s WHERE t.id = s.id + ${String(above)}
             AND s.id < 100`;
}

/** Settings that decide how values look as text. */
const SETTINGS = `SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres';
  SET extra_float_digits = 1`;

/**
 * Binary output where it is the value's own: none of a type that has no such function, and not
 * where it holds the number of a type, which another database gave another.
 */
const COLUMNS = `
  SELECT a.attname AS name,
         CASE WHEN t.typsend = 0 OR t.typtype = 'c' OR t.typname LIKE 'reg%'
                OR coalesce(e.oid >= 16384 OR e.typsend = 0, false)
              THEN NULL ELSE t.typsend::regproc::text END AS send
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typlen = -1
   WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> 'id'
   ORDER BY a.attnum`;

/** All rows of a table as its database shows them. */
export async function readPostgresql(client: pg.Client, table: string): Promise<Rows> {
  await client.query(SETTINGS);
  const name = pg.escapeIdentifier(table);
  const { rows: columns } = await client.query<{ name: string; send: string | null }>(COLUMNS, [
    name,
  ]);
  const cells = columns.flatMap(({ name: column, send }) => {
    const quoted = pg.escapeIdentifier(column);
    const text = `${quoted}::text`;
    return [text, send === null ? text : `encode(${send}(${quoted}), 'hex')`];
  });
  const { rows } = await client.query<(string | null)[]>({
    text: `SELECT id::text, ${cells.join(', ')} FROM ${name}`,
    rowMode: 'array',
  });
  return new Map(
    rows.map((row) => {
      const values = columns.map(({ name: column }, i): [string, Cell] => {
        return [column, { text: row[1 + 2 * i] ?? null, exact: row[2 + 2 * i] ?? null }];
      });
      return [Number(row[0]), new Map(values)];
    }),
  );
}
