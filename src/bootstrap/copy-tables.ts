/**
 * One round of the copy: all tables that are left, cut into ranges, by several pairs of a session
 * on production and one on the shadow. The largest tables go first, so that no worker is left with
 * one of them in the end.
 *
 * A table that was rewritten after the snapshot is left for the next round, and the others go on;
 * any other failure ends the round, after every worker has stopped.
 */
import { tableName, type TableId } from '../change/table-id.ts';
import type {
  CopyRange,
  CopyReader,
  CopySnapshot,
  CopyTarget,
  CopyWriter,
  RowBytes,
} from '../dialect/copying.ts';
import type { Fence } from '../dialect/dialect.ts';
import { isUnderstudyError, type UnderstudyError } from '../errors/understudy-error.ts';
import type { Logger } from '../observability/logger.ts';
import { writableColumns, type SchemaCatalogue } from '../schema/table-schema.ts';
import type { CopyMeter } from './copy-meter.ts';

export interface RoundParts {
  readonly target: CopyTarget;
  readonly fence: Fence;
  readonly snapshot: CopySnapshot;
  readonly catalogue: SchemaCatalogue;
  readonly meter: CopyMeter;
  readonly logger: Logger;
}

export interface RoundOptions {
  readonly signal: AbortSignal;
  readonly jobs: number;
  readonly rangeBytes: number;
}

interface Sessions {
  readonly reader: CopyReader;
  readonly writer: CopyWriter;
}

interface Job {
  readonly table: TableId;
  /** Columns that both sides have. Generated ones are the shadow's own. */
  readonly columns: readonly string[];
  readonly ranges: readonly CopyRange[];
}

/** Rejects with what ended the round, or with TABLE_REWRITTEN if a table has to be copied again. */
export async function copyTables(
  parts: RoundParts,
  tables: readonly TableId[],
  options: RoundOptions,
): Promise<void> {
  const jobs = await planJobs(parts, tables, options.rangeBytes);
  await parts.target.startTables(
    parts.fence,
    parts.snapshot,
    jobs.map(({ table, ranges }) => ({
      table,
      ranges: ranges.length,
      bytes: ranges.reduce((sum, range) => sum + range.bytes, 0),
    })),
  );
  const state = await parts.target.state();
  if (state !== null) parts.meter.start(state, state.tables.length);
  const round = new Round(parts, jobs, options.signal);
  await round.finishEmpty();
  const workers = Math.min(
    ...[options.jobs, parts.snapshot.readers],
    jobs.reduce((sum, job) => sum + job.ranges.length, 0),
  );
  await Promise.all(Array.from({ length: workers }, () => round.work()));
  round.throwIfFailed();
}

async function planJobs(
  parts: RoundParts,
  tables: readonly TableId[],
  rangeBytes: number,
): Promise<readonly Job[]> {
  const there = await parts.snapshot.tables();
  const jobs: Job[] = [];
  for (const table of tables) {
    const name = tableName(table);
    const [ours, theirs] = [parts.catalogue.get(name), there.get(name)];
    if (ours === undefined || theirs === undefined) {
      parts.logger.warn('production has no such table; nothing is copied', { table: name });
      jobs.push({ table, columns: [], ranges: [] });
      continue;
    }
    const known = new Set(theirs.columns.map((column) => column.name));
    const columns = writableColumns(ours).map((column) => column.name);
    jobs.push({
      table,
      columns: columns.filter((column) => known.has(column)),
      ranges: await parts.snapshot.ranges(table, rangeBytes),
    });
  }
  const size = (job: Job): number => job.ranges.reduce((sum, range) => sum + range.bytes, 0);
  return jobs.sort((a, b) => size(b) - size(a));
}

class Round {
  readonly #parts: RoundParts;
  readonly #jobs: readonly Job[];
  readonly #signal: AbortSignal;
  readonly #queue: { readonly job: Job; readonly range: CopyRange }[];
  /** Ranges of each table that are not in. */
  readonly #left: Map<Job, number>;
  readonly #rewritten = new Map<Job, UnderstudyError>();
  #failure: unknown = null;

  constructor(parts: RoundParts, jobs: readonly Job[], signal: AbortSignal) {
    this.#parts = parts;
    this.#jobs = jobs;
    this.#signal = signal;
    this.#queue = jobs.flatMap((job) => job.ranges.map((range) => ({ job, range })));
    this.#left = new Map(jobs.map((job) => [job, job.ranges.length]));
  }

  /** Tables without any range. */
  async finishEmpty(): Promise<void> {
    for (const job of this.#jobs) if (job.ranges.length === 0) await this.#finish(job);
  }

  /** Takes ranges until none is left. After a failure, here or elsewhere, none is begun any more. */
  async work(): Promise<void> {
    while (this.#queue.length > 0 && this.#failure === null) {
      try {
        await using reader = await this.#parts.snapshot.openReader();
        await using writer = await this.#parts.target.openWriter(this.#parts.fence);
        await this.#workWith({ reader, writer });
      } catch (error) {
        // What fails elsewhere because of it is not what is to be told.
        this.#failure ??= error;
      }
    }
  }

  /** Returns early if a table was rewritten: the sessions are of no use then. */
  async #workWith(session: Sessions): Promise<void> {
    while (this.#failure === null) {
      this.#signal.throwIfAborted();
      const next = this.#queue.shift();
      if (next === undefined) return;
      if (this.#rewritten.has(next.job)) continue;
      if (!(await this.#copy(session, next.job, next.range))) return;
    }
  }

  /** False if the table was rewritten. */
  async #copy(session: Sessions, job: Job, range: CopyRange): Promise<boolean> {
    const { meter } = this.#parts;
    const counter = meter.range(range.bytes);
    let rows: number | null = null;
    try {
      rows = await session.reader.read(range, job.columns, (bytes) =>
        session.writer.write(range, job.columns, this.#watched(bytes, counter.passed)),
      );
    } catch (error) {
      if (!isUnderstudyError(error, 'TABLE_REWRITTEN')) throw error;
      this.#rewritten.set(job, error);
      return false;
    } finally {
      counter.ended(rows);
    }
    const left = (this.#left.get(job) ?? 0) - 1;
    this.#left.set(job, left);
    if (left === 0) await this.#finish(job);
    return true;
  }

  async *#watched(rows: RowBytes, passed: (bytes: number) => void): AsyncGenerator<Uint8Array> {
    for await (const chunk of rows) {
      this.#signal.throwIfAborted();
      passed(chunk.length);
      yield chunk;
    }
  }

  async #finish(job: Job): Promise<void> {
    await this.#parts.target.finishTable(this.#parts.fence, job.table);
    this.#parts.meter.tableDone();
  }

  throwIfFailed(): void {
    if (this.#failure !== null) throw this.#failure;
    for (const error of this.#rewritten.values()) throw error;
  }
}
