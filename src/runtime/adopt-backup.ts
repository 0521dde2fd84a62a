/** Carries out `trunk.bootstrap: backup`: whoever holds the trunk takes its rows over first. */
import { adoptBackup } from '../bootstrap/backup.ts';
import { parsePartitionKey } from '../change/position.ts';
import type { DecodedRecord } from '../change/record.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import type { CopySource, CopyTarget } from '../dialect/copying.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { SchemaCatalogue, TableSchema } from '../schema/table-schema.ts';
import { findBarrier, describeTimeout, type BarrierTiming } from '../source/barrier.ts';
import { readTo } from '../source/read-range.ts';
import { openDecoding } from './decoding.ts';
import { assertFollowed } from './followed-server.ts';
import { inspectSource } from './inspected-source.ts';
import { openCommittedOffsets, openTopicSettings } from './sources.ts';
import type { Stage } from './stage.ts';

const TIMING: BarrierTiming = { everyMs: 100, timeoutMs: 180_000 };

/**
 * Errors: CONFIG_INVALID without a position, SCHEMA_DIFFERS if the backup's tables are not
 * production's, PIN_FAILED if the connector does not get on, BACKUP_UNREACHED, and those of reading.
 */
export async function takeOverBackup(
  stage: Stage,
  parts: {
    readonly target: CopyTarget;
    readonly production: CopySource;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { context, database, holder } = stage;
  const { config, dialect, includes, logger } = context;
  const { backupPosition } = config.trunk;
  if (backupPosition === undefined) {
    throw new UnderstudyError('CONFIG_INVALID', 'the trunk waits for its backup’s position', {
      detail: 'set trunk.backupPosition',
    });
  }
  const reading = dialect.readBackup(backupPosition);
  const catalogue = await database.catalogue();
  const production = await context.production();
  const theirs = (await production?.catalogue()) ?? new Map<string, TableSchema>();
  assertSameTables(catalogue, theirs, includes);
  holder.describe(() => ({ state: 'reading the log', oldestTransactionMs: null, degraded: 0 }));
  await using offsets = await openCommittedOffsets(config, logger);
  if (offsets.reader === null) throw new UnderstudyError('INTERNAL', 'no committed offsets');
  if (production !== null) await assertFollowed(context, production, offsets.reader);
  await using source = await context.openSource();
  const { signal } = parts;
  const { position: marker } = await parts.production.mark();
  const asked = { offsets: offsets.reader, marker, timing: TIMING };
  const found = await findBarrier({ ...asked, source, signal });
  if (found.kind === 'timeout') {
    const detail = describeTimeout(found.committed, asked);
    throw new UnderstudyError('PIN_FAILED', 'the connector did not get on', { detail });
  }
  const inspected = await inspectSource(config, context.connect, logger);
  const decoding = openDecoding({
    ...{ config: inspected, catalogue, includes, logger, setsAside: false },
  });
  async function* records(): AsyncGenerator<DecodedRecord> {
    const { budgetBytes } = config.apply;
    const options = { budgetBytes, group: `understudy.${database.name}`, signal };
    for await (const record of readTo(source, point.ends, options)) {
      await decoding.prepare?.(record, { signal, onState: () => undefined });
      yield decoding.decode(record);
    }
  }
  const { point } = found;
  const topics = new Set([...point.starts.keys()].map((key) => parsePartitionKey(key).topic));
  await using settings = openTopicSettings(config, logger);
  const tables = [...catalogue.values()]
    .filter((table) => table.partitionOf === undefined && includes(table.id))
    .map((table) => table.id);
  const view = await adoptBackup({
    ...{ target: parts.target, fence: holder.fence, reading, tables, records: records() },
    ...{ starts: point.starts, ends: point.ends, now: Date.now },
    settings: (await settings?.read((topic) => topics.has(topic)))?.topics ?? [],
    snapshotView: (snapshot) => dialect.snapshotView(snapshot),
  });
  logger.info('the backup is taken over; the stream follows', {
    ...{ database: database.name, tables: tables.length, snapshot: view.snapshot },
  });
}

/**
 * Columns that one side lacks are left to evolution, which meets them in the log. SCHEMA_DIFFERS for a
 * table that is not there, or of another key or types.
 */
function assertSameTables(
  ours: SchemaCatalogue,
  theirs: SchemaCatalogue,
  includes: (table: TableId) => boolean,
): void {
  for (const table of theirs.values()) {
    if (!includes(table.id)) continue;
    const why = difference(ours.get(tableName(table.id)), table);
    if (why === null) continue;
    throw new UnderstudyError('SCHEMA_DIFFERS', 'the backup is not of production’s tables', {
      table: tableName(table.id),
      detail: why,
    });
  }
}

function difference(ours: TableSchema | undefined, theirs: TableSchema): string | null {
  if (ours === undefined) return 'it is not in the backup';
  if (JSON.stringify(ours.key) !== JSON.stringify(theirs.key)) {
    return `its key is (${ours.key.join(', ')}), and (${theirs.key.join(', ')}) in production`;
  }
  for (const { name, type } of theirs.columns) {
    const here = ours.columns.find((column) => column.name === name)?.type;
    if (here !== undefined && here.sql !== type.sql) {
      return `column ${name} is ${here.sql}, and ${type.sql} in production`;
    }
  }
  return null;
}
