/**
 * Fills a trunk from production itself, without old topics, and hands over to the event log
 * exactly where the copy ends.
 *
 * Invariant. Let H be the offsets the log will be followed from, and S(t) the snapshot that table
 * t was copied from. Every transaction is, for each table, either in the copy or applied from the
 * log, never both and never neither:
 *   a change at or behind H is applied if and only if S(t) does not see its transaction (HandOver);
 *   a transaction with a record before H is seen by every S(t).
 *
 * The second line is the gap that has to be closed: Debezium reads production's log, so a
 * transaction may be in Kafka while its commit still waits, say for a synchronous standby, and
 * while no snapshot sees it. Hence the order, of which no step can be left out or moved:
 *  1. A mark in production's log, and the connector's committed offset beyond it: a connector runs
 *     whose stream holds all that is committed from here on.
 *  2. H: the ends of all partitions.
 *  3. A second mark, for its id: whatever has a record before H had begun to write before, so its
 *     id is lower. The snapshot's own bound would not do, since a hidden commit may lie above it.
 *  4. H and the id are saved, once: what was copied counts from them.
 *  5. A snapshot whose oldest running transaction is younger than that id; it is taken again until
 *     it is. Then a mark behind it: W.
 *  6. The tables, in parallel, under that snapshot.
 *  7. The connector's committed offset beyond the last W; then E: the ends of all partitions.
 *     Nothing that any snapshot sees lies behind E, so there the rule ends.
 *
 * A crash resumes at step 5 with the tables not done, under a later snapshot: then S differs
 * between tables, and between H and E the trunk as a whole is of no one moment; behind E it is. Tables
 * that a foreign key ties whose acts are in no log are copied from one snapshot all the same, again
 * if need be (families.ts).
 * Behind E source transactions are whole, as they are everywhere between H and E if there was but
 * one snapshot.
 *
 * Some tables may be copied anew, alone, where the log lost what comes next of them (`beginAnew`). H is
 * then the offsets that their topics are followed from: a position that moved over the gap in the
 * transaction which says that they are to be copied. The first line holds for them; to all other tables
 * every change is applied. A transaction of which records lie in the gap is seen by every S(t), and with
 * these tables' counts taken out of its end it is whole.
 *
 * Rows that a Debezium snapshot sends between H and E and read before W are passed over too: the
 * copy holds them, as new or newer.
 */
import { parsePartitionKey, type OffsetMap } from '../change/position.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import type { BootstrapState, CopySource, CopyTarget, Refill } from '../dialect/copying.ts';
import type { Fence } from '../dialect/dialect.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import type { Logger } from '../observability/logger.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import { findBarrier, type BarrierPoint, type BarrierTiming } from '../source/barrier.ts';
import type { ChangeSource } from '../source/change-source.ts';
import type { CommittedOffsets } from '../source/committed-offsets.ts';
import { backoffMs, sleep } from '../util/wait.ts';
import { copyTables } from './copy-tables.ts';
import { withFamilies } from './families.ts';
import { CopyMeter, type BootstrapProgress } from './copy-meter.ts';

export interface BootstrapParts {
  readonly target: CopyTarget;
  readonly fence: Fence;
  readonly production: CopySource;
  readonly source: Pick<ChangeSource, 'ends' | 'starts' | 'topicIds'>;
  readonly offsets: CommittedOffsets;
  /** The trunk's tables. */
  readonly catalogue: SchemaCatalogue;
  readonly includes: (table: TableId) => boolean;
  readonly logger: Logger;
}

export interface BootstrapOptions {
  readonly signal: AbortSignal;
  /** Tables, or parts of them, that are copied at the same time. */
  readonly jobs: number;
  /** About how much of a table one transaction copies. */
  readonly rangeBytes: number;
  readonly timing: BarrierTiming;
  /** How long a transaction of production that was open at the start is waited for. */
  readonly pinTimeoutMs: number;
  readonly onProgress?: (progress: BootstrapProgress) => void;
}

export const DEFAULT_BOOTSTRAP = {
  rangeBytes: 64 * 1024 * 1024,
  timing: { everyMs: 100, timeoutMs: 180_000 },
  pinTimeoutMs: 600_000,
} as const;

/** How often a snapshot may be lost, or a table be rewritten, without a table being done. */
const FRUITLESS_ROUNDS = 5;

/**
 * Copies what is not copied yet; nothing if the trunk is not to be filled, or was. Safe to repeat
 * after any failure. Errors: PIN_FAILED (the connector does not get on, a transaction of
 * production does not end), READ_FAILED, TABLE_REWRITTEN, PRODUCTION_UNREACHABLE after some tries,
 * SHADOW_UNREACHABLE, FENCED, APPLY_FAILED, the signal's reason.
 */
export async function bootstrap(parts: BootstrapParts, options: BootstrapOptions): Promise<void> {
  const { target, fence } = parts;
  const first = await target.state();
  if (first === null || first.ends !== null) return;
  const meter = new CopyMeter(options.onProgress);
  const mark = first.mark ?? (await begin(parts, options, meter));
  const tables = first.only ?? tablesToCopy(parts);
  for (let fruitless = 0; ;) {
    const before = doneIn(await target.state());
    const undone = tables.filter((table) => !before.has(tableName(table)));
    if (undone.length === 0) break;
    const left = withFamilies(undone, tables, parts.catalogue);
    try {
      await copyRound(parts, options, { mark, left, meter });
      fruitless = 0;
    } catch (error) {
      const passing = isUnderstudyError(
        error,
        ...(['READ_FAILED', 'TABLE_REWRITTEN', 'PRODUCTION_UNREACHABLE'] as const),
      );
      // Of the others the round began none anew.
      const more = doneIn(await target.state()).size > tables.length - left.length;
      fruitless = more ? 0 : fruitless + 1;
      if (options.signal.aborted || !passing || fruitless >= FRUITLESS_ROUNDS) throw error;
      parts.logger.warn('the copy goes on under a new snapshot', { error });
      await sleep(backoffMs(fruitless, 500, 10_000), options.signal);
    }
  }
  const markers = (await target.state())?.tables.map((table) => table.marker) ?? [];
  meter.enter('handing-over');
  const last = markers.reduce((max, marker) => (marker > max ? marker : max), 0n);
  await target.handOver(fence, (await passed(parts, options, last)).ends);
  parts.logger.info('the copy is complete; the stream takes over', {
    tables: tables.length,
    snapshots: new Set(markers).size,
  });
}

/** Steps 1 to 4. */
async function begin(
  parts: BootstrapParts,
  options: BootstrapOptions,
  meter: CopyMeter,
): Promise<string> {
  const start = await startOf(parts, options, meter);
  await parts.target.begin(parts.fence, start);
  return start.transaction;
}

/**
 * The same for some tables of a trunk that is followed, since topics of theirs lost what comes next.
 * All else that is followed keeps its position, and H is that of these topics. `bootstrap` then copies the
 * tables. No table may be left out that a foreign key ties to one of them whose acts are in no log.
 */
export async function beginAnew(
  parts: BootstrapParts,
  options: BootstrapOptions,
  lost: Pick<Refill, 'tables' | 'parts' | 'topics' | 'topicIds'>,
): Promise<void> {
  const { offsets, transaction } = await startOf(parts, options, new CopyMeter(options.onProgress));
  const isOf = ([key]: readonly [string, bigint]): boolean =>
    lost.topics.includes(parsePartitionKey(key).topic);
  const theirs = new Map([...offsets].filter(isOf));
  await parts.target.refill(parts.fence, { ...lost, transaction, offsets: theirs });
}

/** Steps 1 to 3. */
async function startOf(
  parts: BootstrapParts,
  options: BootstrapOptions,
  meter: CopyMeter,
): Promise<{ readonly offsets: OffsetMap; readonly transaction: string }> {
  meter.enter('waiting-for-connector');
  const { position } = await parts.production.mark();
  const { ends } = await passed(parts, options, position);
  const { transaction } = await parts.production.mark();
  return { offsets: ends, transaction };
}

/** The ends of all partitions after the connector has passed `marker`. */
async function passed(
  parts: BootstrapParts,
  { timing, signal }: BootstrapOptions,
  marker: bigint,
): Promise<BarrierPoint> {
  const { offsets, source } = parts;
  const found = await findBarrier({ offsets, source, marker, timing, signal });
  if (found.kind === 'found') return found.point;
  const at = found.committed === null ? 'nothing' : `position ${String(found.committed)}`;
  throw new UnderstudyError('PIN_FAILED', 'the connector did not reach the marker in time', {
    detail:
      `${offsets.description} had committed ${at}, not ${String(marker)}, after ` +
      `${String(timing.timeoutMs / 1000)} s; is it running? See also offset.flush.interval.ms`,
  });
}

/** Steps 5 and 6. */
async function copyRound(
  parts: BootstrapParts,
  options: BootstrapOptions,
  round: { readonly mark: string; readonly left: readonly TableId[]; readonly meter: CopyMeter },
): Promise<void> {
  const { meter } = round;
  meter.enter('waiting-for-transactions');
  await using snapshot = await parts.production.pinAfter(round.mark, {
    readers: options.jobs,
    timeoutMs: options.pinTimeoutMs,
    signal: options.signal,
  });
  meter.enter('copying');
  await copyTables({ ...parts, snapshot, meter }, round.left, options);
}

/** A partition is copied with its root. */
function tablesToCopy(parts: BootstrapParts): readonly TableId[] {
  return [...parts.catalogue.values()]
    .filter((table) => table.partitionOf === undefined && parts.includes(table.id))
    .map((table) => table.id);
}

function doneIn(state: BootstrapState | null): ReadonlySet<string> {
  const done = state?.tables.filter((table) => table.done) ?? [];
  return new Set(done.map(({ table }) => tableName(table)));
}
