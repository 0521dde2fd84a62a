/**
 * Reading and saving how far a shadow database is. `saveProgress` runs only inside the
 * transaction that wrote the rows.
 */
import type { OffsetRange } from '../../../change/offset-ranges.ts';
import {
  parsePartitionKey,
  partitionKey,
  type OffsetMap,
  type Position,
} from '../../../change/position.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { ChangeBatch } from '../../../order/change-batch.ts';
import { REMEMBERED_IDS } from '../../../order/recent-ids.ts';
import type { ResumePoint, StoredProgress } from '../../dialect.ts';
import { rewound } from '../../sql/fence-state.ts';
import { parseSource, sourceText } from '../../../change/stored-source.ts';
import type { Client } from '../session/client.ts';
import { companionName, literal, quote } from '../session/names.ts';
import { rowsAt } from './places.ts';

/** Of one statement. */
const RANGES_AT_ONCE = 500;

interface ProgressRow {
  readonly unmarked: string;
  readonly parked: string;
  readonly deadLetters: string;
}

interface PositionRow {
  readonly topic: string;
  readonly partition: number;
  readonly next: string;
}

interface AheadRow {
  readonly topic: string;
  readonly partition: number;
  readonly first: string;
  readonly next: string;
}

/**
 * All of it as of one moment. The client must be in a REPEATABLE READ transaction. Proofs of
 * PostgreSQL's kind (`unproven`) do not exist for binlogs. No value is ever unknown: full row images
 * leave out none. So only what was discarded is parked.
 */
export async function readProgress(client: Client, database: string): Promise<StoredProgress> {
  const companion = companionName(database);
  const row = await client.row<ProgressRow>(
    `SELECT unmarked, (SELECT COUNT(*) FROM ${quote(companion, 'parked')}) AS parked,
        (SELECT COUNT(*) FROM ${quote(companion, 'dead_key')}) AS deadLetters
      FROM ${quote(companion, 'progress')}`,
  );
  return {
    position: await readPosition(client, companion),
    unproven: [],
    unprovenEvicted: null,
    unmarked: Number(row.unmarked),
    parked: Number(row.parked),
    deadLetters: Number(row.deadLetters),
    unknown: 0,
  };
}

/** All of it as of one moment. The client must be in a REPEATABLE READ transaction. */
export async function readResumePoint(client: Client, database: string): Promise<ResumePoint> {
  const companion = companionName(database);
  const position = await readPosition(client, companion);
  const ahead = await readAhead(client, companion);
  const delivered = await client.rows<{ readonly ids: string }>(
    `SELECT ids FROM ${quote(companion, 'delivered')} ORDER BY upto`,
  );
  return {
    position,
    ahead,
    delivered: delivered.flatMap(({ ids }) => ids.split('\n')),
  };
}

async function readAhead(client: Client, companion: string): Promise<readonly OffsetRange[]> {
  const rows = await client.rows<AheadRow>(
    `SELECT topic, \`partition\`, first_offset AS first, next_offset AS next
      FROM ${quote(companion, 'ahead')} ORDER BY topic, \`partition\`, first_offset`,
  );
  return rows.map((row) => ({ ...row, first: BigInt(row.first), next: BigInt(row.next) }));
}

async function readPosition(client: Client, companion: string): Promise<Position> {
  const row = await client.row<{
    readonly source: string | null;
    readonly eventTimeMs: string | null;
  }>(`SELECT source, event_time_ms AS eventTimeMs FROM ${quote(companion, 'progress')}`);
  return {
    offsets: await readOffsets(client, quote(companion, 'position')),
    source: row.source === null ? null : parseSource(row.source),
    eventTimeMs: row.eventTimeMs === null ? null : Number(row.eventTimeMs),
  };
}

async function readOffsets(
  client: Client,
  from: string,
  lock: '' | 'FOR UPDATE' = '',
): Promise<OffsetMap> {
  const rows = await client.rows<PositionRow>(
    `SELECT topic, \`partition\`, next_offset AS next FROM ${from}
      ORDER BY topic, \`partition\` ${lock}`,
  );
  return new Map(rows.map((row) => [partitionKey(row.topic, row.partition), BigInt(row.next)]));
}

/** Makes the one row that `saveProgress` updates. For a database just made. */
export async function startProgress(client: Client, database: string): Promise<void> {
  await client.run(`INSERT INTO ${quote(companionName(database), 'progress')} (one) VALUES (1)`);
}

/**
 * Saves what holds after the batch; false if it was saved before, so that its rows are written.
 * Saving the same again changes nothing. Waits for whoever else saves.
 * APPLY_FAILED if a partition would go back: such a batch was not made from this database.
 * SHADOW_REWOUND if the database does not stand where the batch begins: it lost commits. Also if it
 * does in some partitions, and in others where the batch ends: somebody else moved these.
 */
export async function saveProgress(
  client: Client,
  database: string,
  batch: ChangeBatch,
): Promise<boolean> {
  const isNew = await savePlaces(client, database, batch);
  await saveWhatIsKnown(client, database, batch, isNew);
  return isNew;
}

/**
 * Saves where partitions stand after the batch; else as `saveProgress`. Waits for who writes the same
 * partitions, and for nobody else.
 */
export async function savePlaces(
  client: Client,
  database: string,
  batch: ChangeBatch,
): Promise<boolean> {
  const companion = companionName(database);
  const saved = await lockOffsets(client, quote(companion, 'position'), batch);
  if (await isRewound(client, companion, saved, batch)) throw rewound(database);
  const moved = await saveOffsets(client, companion, saved, batch.position);
  const noted = await saveAhead(client, companion, batch.ahead ?? []);
  if ((moved || noted) && isPartlyMoved(saved, batch)) throw rewound(database);
  return moved || noted || batch.ahead?.length === 0;
}

/** Saves what a batch says beside its places. Waits for whoever else saves. */
export async function saveWhatIsKnown(
  client: Client,
  database: string,
  batch: ChangeBatch,
  isNew: boolean,
): Promise<void> {
  const companion = companionName(database);
  const { source, eventTimeMs } = batch.position;
  await client.run(
    `UPDATE ${quote(companion, 'progress')}
      SET source = ?, event_time_ms = ?, unmarked = unmarked + ? WHERE one = 1`,
    [source === null ? null : sourceText(source), eventTimeMs, isNew ? batch.unmarked : 0],
  );
  // Behind that one row: who shares the database counts them one after the other.
  if (isNew) await saveDelivered(client, companion, batch.delivered ?? []);
}

/**
 * Where the batch's partitions stand. Those that it moves are locked: asked for before anything else is
 * written, and in the order of the key.
 */
async function lockOffsets(
  client: Client,
  table: string,
  { position, after }: ChangeBatch,
): Promise<OffsetMap> {
  const { offsets } = position;
  const keys = [...offsets.keys()];
  const moving = keys.filter((key) => offsets.get(key) !== after?.offsets.get(key));
  // What moves none waits for who does.
  const locked = moving.length === 0 ? keys : moving;
  const saved = await readOffsets(client, rowsAt(table, locked), 'FOR UPDATE');
  if (locked.length === keys.length) return saved;
  return new Map([...(await readOffsets(client, table)), ...saved]);
}

/** Does it stand neither where the batch begins nor where that ends? */
async function isRewound(
  client: Client,
  companion: string,
  saved: OffsetMap,
  { after, position }: ChangeBatch,
): Promise<boolean> {
  if (after === undefined) return false;
  for (const [key, next] of position.offsets) {
    const stands = saved.get(key);
    if (stands !== next && stands !== after.offsets.get(key)) return true;
  }
  const { ahead } = after;
  if (ahead === null) return false;
  const { topic, partition, first, next } = ahead;
  if ((saved.get(partitionKey(topic, partition)) ?? 0n) >= next) return false;
  const found = await client.rows(
    `SELECT 1 AS found FROM ${quote(companion, 'ahead')} WHERE topic = ? AND \`partition\` = ?
      AND first_offset = ? AND next_offset = ?`,
    [topic, partition, first, next],
  );
  return found.length === 0;
}

/** Does a partition that the batch moves stand where it ends? */
function isPartlyMoved(saved: OffsetMap, { after, position }: ChangeBatch): boolean {
  if (after === undefined) return false;
  return [...position.offsets].some(
    ([key, next]) => after.offsets.get(key) !== next && saved.get(key) === next,
  );
}

/** False if all of it was saved before, or there is none. */
async function saveAhead(
  client: Client,
  companion: string,
  ahead: readonly OffsetRange[],
): Promise<boolean> {
  if (ahead.length === 0) return false;
  const values = ahead.map(
    ({ topic, partition, first, next }) =>
      `(${literal(topic)}, ${String(partition)}, ${String(first)}, ${String(next)})`,
  );
  const { rows } = await client.run(
    `INSERT IGNORE INTO ${quote(companion, 'ahead')}
      (topic, \`partition\`, first_offset, next_offset) VALUES ${values.join(', ')}`,
  );
  return rows > 0;
}

/** Adds the newest ids, and forgets the oldest. */
async function saveDelivered(
  client: Client,
  companion: string,
  ids: readonly string[],
): Promise<void> {
  if (ids.length === 0) return;
  const table = quote(companion, 'delivered');
  await client.run(
    `INSERT INTO ${table} (upto, ids) SELECT COALESCE(MAX(upto), 0) + ?, ? FROM ${table}`,
    [ids.length, ids.join('\n')],
  );
  // A table that is deleted from can be asked in a derived table only.
  await client.run(
    `DELETE FROM ${table}
      WHERE upto <= (SELECT newest FROM (SELECT MAX(upto) AS newest FROM ${table}) AS d) - ?`,
    [REMEMBERED_IDS],
  );
}

/** False if all of it was saved before. */
async function saveOffsets(
  client: Client,
  companion: string,
  saved: OffsetMap,
  position: Position,
): Promise<boolean> {
  const moved: string[] = [];
  for (const [key, next] of position.offsets) {
    const before = saved.get(key);
    if (before === next) continue;
    const { topic, partition } = parsePartitionKey(key);
    if (before !== undefined && before > next) {
      const what = 'the batch lies before what was applied';
      throw new UnderstudyError('APPLY_FAILED', what, { topic, partition });
    }
    moved.push(`(${literal(topic)}, ${String(partition)}, ${String(next)})`);
  }
  if (moved.length === 0) return false;
  // It has one unique key, so that no other row can be replaced.
  await client.run(
    `REPLACE INTO ${quote(companion, 'position')} (topic, \`partition\`, next_offset)
      VALUES ${moved.join(', ')}`,
  );
  await forgetPassed(client, companion, position);
  return true;
}

/** What was applied ahead of the position, and is behind it now: mostly nothing. */
async function forgetPassed(
  client: Client,
  companion: string,
  { offsets }: Position,
): Promise<void> {
  const passed = (await readAhead(client, companion)).filter(
    ({ topic, partition, next }) => next <= (offsets.get(partitionKey(topic, partition)) ?? 0n),
  );
  for (let from = 0; from < passed.length; from += RANGES_AT_ONCE) {
    // By their keys: a scan would wait for who writes other partitions.
    const which = passed.slice(from, from + RANGES_AT_ONCE).map(
      ({ topic, partition, first }) =>
        `(topic = ${literal(topic)} AND \`partition\` = ${String(partition)}
          AND first_offset = ${String(first)})`,
    );
    await client.run(`DELETE FROM ${quote(companion, 'ahead')} WHERE ${which.join(' OR ')}`);
  }
}
