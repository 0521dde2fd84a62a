/**
 * Reading and saving how far a shadow database is. `saveProgress` runs only inside the
 * transaction that wrote the rows.
 */
import { parsePartitionKey, partitionKey, type Position } from '../../../change/position.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { ChangeBatch } from '../../../order/change-batch.ts';
import type { StoredProgress } from '../../dialect.ts';
import { parseSource, sourceText } from '../../sql/stored-source.ts';
import type { Client } from '../session/client.ts';
import { companionName, literal, quote } from '../session/names.ts';

interface ProgressRow {
  readonly source: string | null;
  readonly eventTimeMs: string | null;
  readonly unmarked: string;
}

interface PositionRow {
  readonly topic: string;
  readonly partition: number;
  readonly next: string;
}

/**
 * All of it as of one moment. The client must be in a REPEATABLE READ transaction. Proofs of
 * PostgreSQL's kind (`unproven`) do not exist for binlogs. Nothing is ever parked or unknown: full
 * row images leave out no value. Nothing is set aside either: what cannot be written stops.
 */
export async function readProgress(client: Client, database: string): Promise<StoredProgress> {
  const companion = companionName(database);
  const row = await client.row<ProgressRow>(
    `SELECT source, event_time_ms AS eventTimeMs, unmarked
      FROM ${quote(companion, 'progress')}`,
  );
  const offsets = await readOffsets(client, companion, '');
  return {
    position: {
      offsets,
      source: row.source === null ? null : parseSource(row.source),
      eventTimeMs: row.eventTimeMs === null ? null : Number(row.eventTimeMs),
    },
    unproven: [],
    unprovenEvicted: null,
    unmarked: Number(row.unmarked),
    parked: 0,
    deadLetters: 0,
    unknown: 0,
  };
}

async function readOffsets(
  client: Client,
  companion: string,
  lock: '' | 'FOR UPDATE',
): Promise<ReadonlyMap<string, bigint>> {
  const rows = await client.rows<PositionRow>(
    `SELECT topic, \`partition\`, next_offset AS next FROM ${quote(companion, 'position')}
      ORDER BY topic, \`partition\` ${lock}`,
  );
  return new Map(rows.map((row) => [partitionKey(row.topic, row.partition), BigInt(row.next)]));
}

/** Makes the one row that `saveProgress` updates. For a database just made. */
export async function startProgress(client: Client, database: string): Promise<void> {
  await client.run(`INSERT INTO ${quote(companionName(database), 'progress')} (one) VALUES (1)`);
}

/**
 * Saves what holds after the batch; false if its position held already. Saving the same again
 * changes nothing. Waits for whoever else saves.
 * APPLY_FAILED if a partition would go back: such a batch was not made from this database.
 */
export async function saveProgress(
  client: Client,
  database: string,
  batch: ChangeBatch,
): Promise<boolean> {
  const companion = companionName(database);
  const moved = await saveOffsets(client, companion, batch.position);
  const { source, eventTimeMs } = batch.position;
  await client.run(
    `UPDATE ${quote(companion, 'progress')}
      SET source = ?, event_time_ms = ?, unmarked = unmarked + ? WHERE one = 1`,
    [source === null ? null : sourceText(source), eventTimeMs, moved ? batch.unmarked : 0],
  );
  return moved;
}

/** False if all of it was saved before. */
async function saveOffsets(
  client: Client,
  companion: string,
  position: Position,
): Promise<boolean> {
  const saved = await readOffsets(client, companion, 'FOR UPDATE');
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
  return true;
}
