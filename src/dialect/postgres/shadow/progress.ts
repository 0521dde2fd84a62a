/**
 * Reading and saving how far a shadow database is. `saveProgress` runs only inside the
 * transaction that wrote the rows.
 */
import type pg from 'pg';
import { parsePartitionKey, partitionKey, type Position } from '../../../change/position.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { ChangeBatch } from '../../../order/change-batch.ts';
import { REMEMBERED_IDS } from '../../../order/recent-ids.ts';
import type { ResumePoint, StoredProgress } from '../../dialect.ts';
import { rewound } from '../../sql/fence-state.ts';
import { parseSource, sourceText } from '../../../change/stored-source.ts';
import { newerTxId } from '../production/transaction-id.ts';

/** How many source transactions are kept for proofs; older ones are remembered by their newest. */
export const UNPROVEN_LIMIT = 10_000;

interface ProgressRow {
  readonly source: string | null;
  readonly eventTimeMs: bigint | null;
  readonly evicted: bigint | null;
  readonly unmarked: bigint;
  readonly parked: bigint;
  readonly deadLetters: bigint;
  readonly unknown: bigint;
}

const PROGRESS = `SELECT source, event_time_ms AS "eventTimeMs", unproven_evicted AS evicted,
    unmarked,
    (SELECT count(*) FROM understudy.parked) AS parked,
    (SELECT count(*) FROM understudy.dead_key) AS "deadLetters",
    (SELECT count(*) FROM understudy.unknown_value) AS unknown
  FROM understudy.progress`;

async function readRow(client: pg.ClientBase): Promise<ProgressRow> {
  const row = (await client.query<ProgressRow>(PROGRESS)).rows[0];
  if (row === undefined) throw new UnderstudyError('INTERNAL', 'the progress has no row');
  return row;
}

async function positionOf(client: pg.ClientBase, row: ProgressRow): Promise<Position> {
  const offsets = await client.query<{ topic: string; partition: number; next: bigint }>(
    `SELECT topic, partition, next_offset AS next FROM understudy.position
      ORDER BY topic, partition`,
  );
  return {
    offsets: new Map(offsets.rows.map((r) => [partitionKey(r.topic, r.partition), r.next])),
    source: row.source === null ? null : parseSource(row.source),
    eventTimeMs: row.eventTimeMs === null ? null : Number(row.eventTimeMs),
  };
}

/** All of it as of one moment. The client must be in a REPEATABLE READ transaction. */
export async function readProgress(client: pg.ClientBase): Promise<StoredProgress> {
  const row = await readRow(client);
  const unproven = await client.query<{ txId: bigint }>(
    'SELECT tx_id AS "txId" FROM understudy.unproven ORDER BY seq',
  );
  return {
    position: await positionOf(client, row),
    unproven: unproven.rows.map((r) => Number(r.txId)),
    unprovenEvicted: row.evicted === null ? null : Number(row.evicted),
    unmarked: Number(row.unmarked),
    parked: Number(row.parked),
    deadLetters: Number(row.deadLetters),
    unknown: Number(row.unknown),
  };
}

/** All of it as of one moment. The client must be in a REPEATABLE READ transaction. */
export async function readResumePoint(client: pg.ClientBase): Promise<ResumePoint> {
  const position = await positionOf(client, await readRow(client));
  const ahead = await client.query<ResumePoint['ahead'][number]>(
    `SELECT topic, partition, first_offset AS first, next_offset AS next FROM understudy.ahead
      ORDER BY topic, partition, first_offset`,
  );
  const delivered = await client.query<{ ids: readonly string[] }>(
    'SELECT ids FROM understudy.delivered ORDER BY upto',
  );
  return { position, ahead: ahead.rows, delivered: delivered.rows.flatMap(({ ids }) => ids) };
}

/** Makes the one row that `saveProgress` updates. For a database just made. */
export async function startProgress(client: pg.ClientBase): Promise<void> {
  await client.query('INSERT INTO understudy.progress DEFAULT VALUES');
}

/**
 * Saves what holds after the batch; false if it was saved before, so that its rows are written.
 * Saving the same again changes nothing. Waits for whoever else saves.
 * APPLY_FAILED if a partition would go back: such a batch was not made from this database.
 * SHADOW_REWOUND if the database does not stand where the batch begins: it lost commits. Also if it
 * does in some partitions, and in others where the batch ends: somebody else moved these.
 */
export async function saveProgress(client: pg.ClientBase, batch: ChangeBatch): Promise<boolean> {
  const isNew = await savePlaces(client, batch);
  await saveWhatIsKnown(client, batch, isNew);
  return isNew;
}

/** Saves what a batch says beside its places. Waits for whoever else saves. */
export async function saveWhatIsKnown(
  client: pg.ClientBase,
  batch: ChangeBatch,
  isNew: boolean,
): Promise<void> {
  const { position, txIds, unmarked } = batch;
  const { rows } = await client.query<{ count: number; evicted: bigint | null }>(
    // The row first: who shares the database would else wait for each other's ids, both ways.
    `WITH mine AS (SELECT one FROM understudy.progress FOR UPDATE),
      added AS (
        INSERT INTO understudy.unproven (tx_id)
          SELECT id FROM mine, pg_catalog.unnest($4::int8[]) WITH ORDINALITY AS g (id, n)
            GROUP BY id ORDER BY min(n)
          ON CONFLICT (tx_id) DO NOTHING RETURNING 1)
      UPDATE understudy.progress SET source = $1, event_time_ms = $2, unmarked = unmarked + $3,
          unproven_count = unproven_count + (SELECT count(*) FROM added)
        RETURNING unproven_count AS count, unproven_evicted AS evicted`,
    [
      position.source === null ? null : sourceText(position.source),
      position.eventTimeMs,
      isNew ? unmarked : 0,
      txIds,
    ],
  );
  const [state] = rows;
  if (txIds.length > 0 && state !== undefined && state.count > UNPROVEN_LIMIT) {
    await evict(client, state.count - UNPROVEN_LIMIT, state.evicted);
  }
}

interface SavedPlaces {
  readonly isNew: boolean;
  /** A partition that would go back; null if none would. */
  readonly topic: string | null;
  readonly partition: number;
  readonly rewound: boolean;
}

/**
 * Saves where partitions stand after the batch; else as `saveProgress`. One statement, for it is asked
 * with every batch: its parts all see what was there before it.
 */
export async function savePlaces(client: pg.ClientBase, batch: ChangeBatch): Promise<boolean> {
  const { position, after, ahead = [], delivered = [] } = batch;
  const entries = [...position.offsets].map(([key, next]) => ({
    ...{ ...parsePartitionKey(key), next },
    before: after?.offsets.get(key) ?? null,
  }));
  const last = after?.ahead ?? null;
  const { rows } = await client.query<SavedPlaces>(
    `WITH given AS (
        SELECT * FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::int[]),
          pg_catalog.unnest($3::int8[]), pg_catalog.unnest($10::int8[]))
          AS g (topic, partition, next_offset, before)),
      saved AS (
        INSERT INTO understudy.position AS p (topic, partition, next_offset)
          SELECT topic, partition, next_offset FROM given
          ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset
            WHERE p.next_offset < excluded.next_offset
          RETURNING 1),
      noted AS (
        INSERT INTO understudy.ahead (topic, partition, first_offset, next_offset)
          SELECT * FROM ROWS FROM (pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::int[]),
            pg_catalog.unnest($6::int8[]), pg_catalog.unnest($7::int8[])) AS g
          ON CONFLICT DO NOTHING RETURNING 1),
      passed AS (
        DELETE FROM understudy.ahead a USING given g WHERE a.topic = g.topic
          AND a.partition = g.partition AND a.next_offset <= g.next_offset),
      new AS (SELECT EXISTS (SELECT FROM saved) OR EXISTS (SELECT FROM noted) AS is_new),
      told AS (
        INSERT INTO understudy.delivered (upto, ids)
          SELECT COALESCE((SELECT max(upto) FROM understudy.delivered), 0)
              + pg_catalog.cardinality($8::text[]), $8
            FROM new WHERE is_new AND pg_catalog.cardinality($8) > 0),
      forgotten AS (
        DELETE FROM understudy.delivered
          WHERE upto <= (SELECT max(upto) FROM understudy.delivered) - $9::int8)
      SELECT is_new AS "isNew", back.topic, back.partition, $11::boolean AND (
          EXISTS (SELECT FROM given g LEFT JOIN understudy.position p
            ON p.topic = g.topic AND p.partition = g.partition
            WHERE p.next_offset IS DISTINCT FROM g.before
              AND p.next_offset IS DISTINCT FROM g.next_offset)
          OR (is_new AND EXISTS (SELECT FROM given g JOIN understudy.position p
            ON p.topic = g.topic AND p.partition = g.partition
            WHERE g.before IS DISTINCT FROM g.next_offset AND p.next_offset = g.next_offset))
          OR ($12::text IS NOT NULL
            AND NOT EXISTS (SELECT FROM understudy.ahead WHERE topic = $12 AND partition = $13::int
              AND first_offset = $14::int8 AND next_offset = $15::int8)
            AND NOT EXISTS (SELECT FROM understudy.position
              WHERE topic = $12 AND partition = $13 AND next_offset >= $15))) AS rewound
        FROM new LEFT JOIN (
          SELECT g.topic, g.partition FROM given g
            JOIN understudy.position p ON p.topic = g.topic AND p.partition = g.partition
            WHERE p.next_offset > g.next_offset LIMIT 1) AS back ON true`,
    [
      ...[entries.map((e) => e.topic), entries.map((e) => e.partition), entries.map((e) => e.next)],
      ...[ahead.map((r) => r.topic), ahead.map((r) => r.partition)],
      ...[ahead.map((r) => r.first), ahead.map((r) => r.next)],
      ...[delivered, REMEMBERED_IDS, entries.map((e) => e.before), after !== undefined],
      ...[last?.topic ?? null, last?.partition ?? null, last?.first ?? null, last?.next ?? null],
    ],
  );
  const found = rows[0];
  if (found?.rewound === true) throw rewound();
  if (typeof found?.topic === 'string') {
    const { topic, partition } = found;
    const what = 'the batch lies before what was applied';
    throw new UnderstudyError('APPLY_FAILED', what, { topic, partition });
  }
  return found?.isNew === true || batch.ahead?.length === 0;
}

/** Forgets the oldest, and keeps the newest id of all that were ever forgotten. */
async function evict(client: pg.ClientBase, excess: number, evicted: bigint | null): Promise<void> {
  const { rows } = await client.query<{ txId: bigint }>(
    `DELETE FROM understudy.unproven WHERE seq IN
      (SELECT seq FROM understudy.unproven ORDER BY seq LIMIT $1) RETURNING tx_id AS "txId"`,
    [excess],
  );
  const newest = rows.reduce<bigint | null>(
    (known, { txId }) => (known === null ? txId : newerTxId(known, txId)),
    evicted,
  );
  await client.query(
    `UPDATE understudy.progress SET unproven_evicted = $1, unproven_count = unproven_count - $2`,
    [newest, rows.length],
  );
}

/** Drops ids that a snapshot of production saw. */
export async function forgetProven(client: pg.ClientBase, txIds: readonly number[]): Promise<void> {
  const { rowCount } = await client.query(
    'DELETE FROM understudy.unproven WHERE tx_id = ANY ($1::int8[])',
    [txIds],
  );
  await client.query('UPDATE understudy.progress SET unproven_count = unproven_count - $1', [
    rowCount,
  ]);
}
