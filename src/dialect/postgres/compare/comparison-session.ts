import type pg from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';

/**
 * Settings under which a value has one text form, so that both sides of a comparison hash the
 * same bytes; and no time limits, because a check may read for long.
 */
const SETTINGS: readonly (readonly [name: string, value: string])[] = [
  ['DateStyle', 'ISO, YMD'],
  ['IntervalStyle', 'postgres'],
  ['TimeZone', 'UTC'],
  ['extra_float_digits', '1'],
  ['bytea_output', 'hex'],
  ['lc_monetary', 'C'],
  ['client_encoding', 'UTF8'],
  ['xmloption', 'content'],
  ['search_path', 'pg_catalog'],
  ['row_security', 'off'],
  ['jit', 'off'],
  ['statement_timeout', '0'],
  ['lock_timeout', '10s'],
  ['idle_in_transaction_session_timeout', '0'],
];

/**
 * Makes a session fit for reading tables to compare. `row_security=off` turns a silently filtered
 * read into an error. UNSUPPORTED below PostgreSQL 14, which cannot hash records.
 */
export async function prepareComparison(client: pg.Client): Promise<void> {
  const version = await serverVersion(client);
  if (version < 140_000) {
    throw new UnderstudyError(
      'UNSUPPORTED',
      'drift checks and copies need PostgreSQL 14 or later',
      {
        detail: `the server is ${version}`,
      },
    );
  }
  const settings: (readonly [string, string])[] = [...SETTINGS];
  if (version >= 170_000) settings.push(['transaction_timeout', '0']);
  for (const [name, value] of settings) {
    await client.query('SELECT pg_catalog.set_config($1, $2, false)', [name, value]);
  }
}

/** server_version_num, e.g. 180004. */
export async function serverVersion(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ version: string }>(
    `SELECT current_setting('server_version_num') AS version`,
  );
  return Number(rows[0]?.version);
}

/**
 * What is safe to show of a failed statement: its SQLSTATE, or the connection's error code. The
 * server's message may quote row values.
 */
export function sqlStateOf(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'code' in error) {
    return `SQLSTATE ${String(error.code)}`;
  }
  return 'the session was ended';
}
