/**
 * Pins a snapshot of production that can be found again in the change stream (pin-proofs 1.2).
 *
 * A log position beside a snapshot is not exact: a transaction is in the log before snapshots see
 * it. So the snapshot is described by transaction ids, which the stream carries as well, and a
 * marker written after it says how far the log must be read until everything it saw has come.
 * The only trace on production is the marker, one WAL message.
 */
import type pg from 'pg';
import { randomUUID } from 'node:crypto';
import type { TableId } from '../../../change/table-id.ts';
import { isUnderstudyError, UnderstudyError } from '../../../errors/understudy-error.ts';
import type { SchemaCatalogue } from '../../../schema/table-schema.ts';
import type { CopyMark } from '../../copying.ts';
import type { PinnedSnapshot, SnapshotView } from '../../dialect.ts';
import { prepareComparison, serverVersion, sqlStateOf } from '../compare/comparison-session.ts';
import { MARKER_PREFIX } from '../../../change/marker-prefix.ts';
import { quotedTable } from '../compare/comparison-sql.ts';
import { parseSnapshot } from './snapshot.ts';
import { PgTableReader } from '../compare/table-reader.ts';

/**
 * Minors from which a transaction that waits for a synchronous standby still counts as running
 * for writers of the same row. Before them, deferring it would not be sound.
 */
const SOUND_MINORS: ReadonlyMap<number, number> = new Map([
  [13, 8],
  [14, 5],
]);

export interface PinParts {
  /** Opens a new session on production. Called twice; pinSnapshot ends both. */
  readonly connect: () => Promise<pg.Client>;
  /** Reads the catalogue in the given session's snapshot. */
  readonly tables: (client: pg.Client) => Promise<SchemaCatalogue>;
  /** The relation to read for a table. Default: the table itself. */
  readonly relation?: (table: TableId) => string;
}

/**
 * A read-only snapshot with its view, then the marker behind it. The snapshot holds back vacuum
 * on production until it is disposed.
 * Errors: PIN_FAILED (a standby, a minor with unsound visibility, a missing right), UNSUPPORTED,
 * and what `connect` throws.
 */
export async function pinSnapshot(parts: PinParts): Promise<PinnedSnapshot> {
  const client = await parts.connect();
  try {
    ignoreLateErrors(client);
    return await failAs(async () => {
      await assertPinnable(client);
      await prepareComparison(client);
      const floor = await readLsn(client, 'SELECT pg_current_wal_insert_lsn()::text AS lsn');
      await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
      const view = await readView(client);
      const marker = await writeMarker(parts.connect);
      const reader = new PgTableReader({
        client,
        relation: parts.relation ?? quotedTable,
        tables: () => parts.tables(client),
        close: () => client.end(),
      });
      return {
        ...view,
        proof: 'xid-barrier' as const,
        floor,
        marker,
        reader,
        [Symbol.asyncDispose]: () => reader[Symbol.asyncDispose](),
      };
    });
  } catch (error) {
    await client.end();
    throw error;
  }
}

/** What a snapshot taken now, in a statement of its own, sees. Errors: PIN_FAILED. */
export function currentView(client: pg.Client): Promise<SnapshotView> {
  return failAs(async () => {
    await assertPinnable(client);
    return await readView(client);
  });
}

/** PIN_FAILED where a snapshot's ids do not say exactly what it sees. */
export async function assertPinnable(client: pg.Client): Promise<void> {
  const version = await serverVersion(client);
  const { rows } = await client.query<{ standby: boolean }>(
    'SELECT pg_is_in_recovery() AS standby',
  );
  if (rows[0]?.standby !== false) {
    throw new UnderstudyError('PIN_FAILED', 'production.url points at a standby', {
      detail: 'a standby’s snapshot does not list running transactions; use the primary',
    });
  }
  const soundMinor = SOUND_MINORS.get(Math.floor(version / 10_000));
  if (version < 130_000 || (soundMinor !== undefined && version % 10_000 < soundMinor)) {
    throw new UnderstudyError('PIN_FAILED', 'this minor version of PostgreSQL cannot be pinned', {
      detail: `the server is ${version}; 13.8, 14.5 or 15 is the least`,
    });
  }
}

async function readView(client: pg.Client): Promise<SnapshotView> {
  const { rows } = await client.query<{ snapshot: string }>(
    'SELECT pg_current_snapshot()::text AS snapshot',
  );
  return parseSnapshot(rows[0]?.snapshot ?? '');
}

/**
 * On a session of its own, so that it comes after the snapshot. Transactional, because its commit
 * then flushes the log, and with it asynchronous commits that the snapshot saw; without waiting
 * for a standby.
 */
async function writeMarker(connect: () => Promise<pg.Client>): Promise<bigint> {
  const client = await connect();
  try {
    ignoreLateErrors(client);
    return (await markLog(client)).position;
  } finally {
    await client.end();
  }
}

/** Writes the marker in a transaction of its own, and says where it lies and which that was. */
export async function markLog(client: pg.Client): Promise<CopyMark> {
  await client.query('SET synchronous_commit = local');
  const { rows } = await client.query<{ lsn: string; transaction: string }>(
    `SELECT pg_logical_emit_message(true, '${MARKER_PREFIX}', '${randomUUID()}')::text AS lsn,
       pg_current_xact_id()::text AS transaction`,
  );
  const [row] = rows;
  return { position: parseLsn(row?.lsn ?? ''), transaction: row?.transaction ?? '' };
}

async function readLsn(client: pg.Client, sql: string): Promise<bigint> {
  const { rows } = await client.query<{ lsn: string }>(sql);
  return parseLsn(rows[0]?.lsn ?? '');
}

/** `16/B374D848` as the number Debezium sends. */
export function parseLsn(text: string): bigint {
  const [, high, low] = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(text) ?? [];
  if (high === undefined || low === undefined) {
    throw new UnderstudyError('PIN_FAILED', 'production sent an unreadable log position');
  }
  return (BigInt(`0x${high}`) << 32n) + BigInt(`0x${low}`);
}

/** A session that the server ends while idle must not end the process; the next query fails. */
function ignoreLateErrors(client: pg.Client): void {
  client.on('error', () => undefined);
}

async function failAs<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (isUnderstudyError(error)) throw error;
    throw new UnderstudyError('PIN_FAILED', 'production’s snapshot could not be pinned', {
      detail: sqlStateOf(error),
    });
  }
}
