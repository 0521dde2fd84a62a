/**
 * How a database of ours is told from all others: by the marker in its companion database. A
 * database without is never written to.
 */
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { DatabaseKind, DatabaseMarker } from '../../dialect.ts';
import type { Client } from '../session/client.ts';
import { ERRNO, hasErrno } from '../session/errors.ts';
import { databaseVersion } from '../session/migrations.ts';
import { companionName, quote } from '../session/names.ts';

export interface FoundMarker {
  readonly marker: DatabaseMarker;
  /** The database it was written for. */
  readonly writtenFor: string;
  /** Name of the followed database in production. */
  readonly sourceDatabase: string;
  /** `creating`: its maker was not done, or was ended in the midst of it. */
  readonly state: 'creating' | 'ready';
}

interface MarkerRow {
  readonly id: string;
  readonly kind: DatabaseKind;
  readonly name: string;
  readonly database: string;
  readonly sourceDatabase: string;
  readonly topicPrefix: string;
  readonly state: 'creating' | 'ready';
}

/** The marker in the companion of `database`. Null without one. */
export async function readMarker(client: Client, database: string): Promise<FoundMarker | null> {
  const companion = companionName(database);
  const version = await databaseVersion(client, companion);
  if (version === null) return null;
  let row: MarkerRow | undefined;
  try {
    [row] = await client.rows<MarkerRow>(
      `SELECT id, kind, name, \`database\`, source_database AS sourceDatabase,
          topic_prefix AS topicPrefix, state
        FROM ${quote(companion, 'marker')}`,
    );
  } catch (error) {
    if (hasErrno(error, ERRNO.noSuchTable, ERRNO.unknownColumn)) return null;
    throw error;
  }
  if (row === undefined) return null;
  const { database: writtenFor, sourceDatabase, state, ...marker } = row;
  return { marker: { ...marker, schemaVersion: version }, writtenFor, sourceDatabase, state };
}

export async function databaseExists(client: Client, name: string): Promise<boolean> {
  const found = await client.rows(
    'SELECT 1 AS there FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?',
    [name],
  );
  return found.length > 0;
}

/** True if a database holds nothing: no table, view, routine or event. */
export async function isEmpty(client: Client, name: string): Promise<boolean> {
  const found = await client.rows(
    `SELECT 1 AS there FROM information_schema.TABLES WHERE TABLE_SCHEMA = ?
      UNION ALL SELECT 1 FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = ?
      UNION ALL SELECT 1 FROM information_schema.EVENTS WHERE EVENT_SCHEMA = ? LIMIT 1`,
    [name, name, name],
  );
  return found.length === 0;
}

/** TARGET_NOT_OURS, with the reason. */
export function notOurs(database: string, why: string): UnderstudyError {
  return new UnderstudyError('TARGET_NOT_OURS', why, { database });
}
