/**
 * Follows the event log into one shadow database: stream → decode → mask → order → apply.
 *
 * Invariants
 * - What is applied is, per partition, a prefix of the log, and the stored position says exactly
 *   which one (the only exception is an armed barrier, see `barrier.ts`: then the stored position
 *   stays before the first deferred change, and what was applied ahead of it is stored by its
 *   places, so that a restart reads it again and passes it over).
 * - A record that cannot be decoded stops the follower loudly after everything before it was
 *   applied; its position is not passed. So does one that cannot be applied. Unless it is set aside:
 *   `decode` may give an unread change, and see `batch-writer.ts`.
 * - One apply at a time. `freeze` returns only when none is running.
 */
import { OffsetSet } from '../change/offset-ranges.ts';
import type { OffsetMap, Position } from '../change/position.ts';
import type { BaseReader } from '../dialect/dialect.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { TransactionAssembler } from '../order/assembler.ts';
import type { Release } from '../order/release.ts';
import type { BatchStep } from '../order/change-batch.ts';
import type { ChangeStream, SourceState } from '../source/change-source.ts';
import { Mutex } from '../util/mutex.ts';
import { News, Wakeup } from '../util/signal.ts';
import { steadyNow } from '../util/clock.ts';
import { sleep } from '../util/wait.ts';
import { Barrier, type BarrierPlan, type BarrierOutcome } from './barrier.ts';
import { BatchWriter } from './batch-writer.ts';
import type { FollowerState, FollowerTotals } from './follower-state.ts';
import { decodingOf, type FollowerParts } from './follower-parts.ts';
import { Intake } from './intake.ts';
import { LargeUnwritten, writeLarge } from './large-transaction.ts';
import { restored, tellIncomplete } from './late-truncate.ts';
import { MemoryCredit } from './memory-credit.ts';
import { isPast } from './positions.ts';
import { Pulse } from './pulse.ts';
import { withRetry } from './retry.ts';
import { Room } from './room.ts';

/** How long a batch may wait for a lock before a freeze or a supply gives up; how often it looks. */
const FREEZE_LIMIT_MS = 10_000;
const FREEZE_LOOK_MS = 250;

/** From where records come, and what of them is held. */
interface Reading {
  readonly credit: MemoryCredit;
  readonly stream: Pick<ChangeStream, 'commit'>;
  readonly room: Room;
}

export class Follower {
  readonly pulse = new Pulse();
  readonly #parts: FollowerParts;
  readonly #wakeup = new Wakeup();
  readonly #stop = new AbortController();
  readonly #writing = new Mutex();
  readonly #writer: BatchWriter;
  #state: FollowerState = { kind: 'starting' };
  #sourceState: SourceState = { state: 'starting', since: steadyNow(), detail: null };
  /** Why records wait to be decoded, if they do. */
  #waiting: SourceState | null = null;
  #position: Position;
  #intake: Intake | null = null;
  #intakeDone = false;
  #intakeFailure: unknown = null;
  #frozen = false;
  #idle = true;
  /** Parts of a transaction are written, and the rest is not here. */
  #lacksParts = false;
  /** Chunks that were read, and how many of them had been when last nothing was left to apply. */
  #chunks = 0;
  #drainedAt = 0;
  #barrier: Barrier | null = null;
  /** Taken, and not applied: the first part of a large transaction. */
  #put: Release | null = null;
  readonly #appliedAhead: OffsetSet | null;
  /** Why it runs no more. */
  #end: unknown = null;
  #totals = { events: 0, rows: 0, transactions: 0, degraded: 0 };
  readonly #news = new News();

  constructor(parts: FollowerParts, position: Position) {
    this.#parts = parts;
    this.#position = position;
    parts.assembler.onNews(() => {
      this.#wakeup.notify();
    });
    const { ahead = [], database, fence, builder, dead = null, logger } = parts;
    this.#writer = new BatchWriter({
      ...{ database, fence, builder, dead, logger },
      persist: (act) => this.#withRetry(act),
      once: (act) => this.#writing.run(act),
      position: () => this.#position,
      onWritten: (batch, outcome, inParts) => {
        this.pulse.wrote();
        this.#position = batch.position;
        this.#totals.events += batch.events;
        this.#totals.transactions += batch.transactions;
        this.#totals.rows += outcome.rows + outcome.owned;
        this.#totals.degraded += inParts;
      },
    });
    this.#appliedAhead = ahead.length === 0 ? null : new OffsetSet(ahead);
  }

  get state(): FollowerState {
    return this.#state;
  }

  get sourceState(): SourceState {
    return this.#waiting ?? this.#sourceState;
  }

  get totals(): FollowerTotals {
    return this.#totals;
  }

  get position(): Position {
    return this.#position;
  }

  /** The next offset to read, for every partition read so far in this run. */
  get consumed(): OffsetMap {
    return this.#intake?.consumed ?? new Map();
  }

  held(): ReturnType<TransactionAssembler['held']> {
    return this.#parts.assembler.held();
  }

  /**
   * Runs until `stop` is called, the log ends (a recording), or an error. The log is read from
   * the position given to the constructor.
   */
  async run(): Promise<void> {
    try {
      await this.#follow();
      this.#ended(new UnderstudyError('PIN_FAILED', 'following ended before the barrier'));
    } catch (error) {
      this.#ended(error);
      throw error;
    }
  }

  /** From now on nobody may wait for it: whoever does learns why it will not come. */
  #ended(why: unknown): void {
    this.#end = why;
    this.#state = { kind: 'stopped' };
    this.#barrier?.fail(this.#end);
    this.#barrier = null;
    this.#news.tell();
  }

  async #follow(): Promise<void> {
    const { source, database, limits } = this.#parts;
    const stream = await source.open(this.#position.offsets, {
      budgetBytes: limits.budgetBytes,
      group: `understudy.${database.name}`,
      signal: this.#stop.signal,
      ids: this.#parts.topicIds,
      // One that came while nobody followed may have lost what it began with.
      newOnesWhole: this.#position.offsets.size > 0,
      onState: (state) => {
        this.#sourceState = state;
      },
    });
    const credit = new MemoryCredit((bytes) => {
      stream.released(bytes);
    });
    const decoding = decodingOf(this.#parts, this.#stop.signal, (state) => {
      this.#waiting = state;
    });
    const intake = new Intake({
      ...{ ...decoding, stream, credit, sink: this.#parts.assembler },
      onRecord: (record) => {
        this.pulse.came(record);
      },
      onChunk: () => {
        this.#chunks += 1;
        this.#wakeup.notify();
        this.#news.tell();
      },
    });
    this.#intake = intake;
    this.#state = { kind: 'following' };
    const ended = (failure: unknown): void => {
      this.#intakeDone = true;
      this.#intakeFailure = failure;
      this.#wakeup.notify();
    };
    const reading = intake.run().then(() => {
      ended(null);
    }, ended);
    try {
      const { assembler, apart = new Set(), limits } = this.#parts;
      const room = new Room({ ...limits, credit, stream, assembler, apart, now: steadyNow });
      await this.#applyLoop({ credit, stream, room });
    } finally {
      this.#stop.abort(new UnderstudyError('INTERRUPTED', 'the follower stopped'));
      await stream[Symbol.asyncDispose]();
      await reading;
    }
  }

  /** Ends `run` after the batch in flight. */
  stop(): void {
    this.#stop.abort(new UnderstudyError('INTERRUPTED', 'the follower was stopped'));
    this.#wakeup.notify();
  }

  /**
   * Stops applying, goes on reading. Resolves when no apply is in flight. APPLY_BLOCKED if a batch
   * has been waiting for a lock for long: it was taken from the log and can be neither left nor
   * put back, so no point can be reached beside it.
   */
  async freeze(): Promise<void> {
    this.#frozen = true;
    this.#wakeup.notify();
    while (!this.#isStill() && this.#state.kind !== 'stopped') {
      const { state } = this;
      if (state.kind === 'retrying' && steadyNow() - state.sinceMs > FREEZE_LIMIT_MS) {
        this.resume();
        throw new UnderstudyError(
          'APPLY_BLOCKED',
          'a batch cannot be written, and what comes after it has to wait',
          { database: this.#parts.database.name, detail: state.error.code },
        );
      }
      await Promise.race([this.until(() => this.#isStill()), sleep(FREEZE_LOOK_MS)]);
    }
  }

  /** Runs `act` between two batches, or two attempts at one. It must not need the log to stand still. */
  betweenWrites<T>(act: () => Promise<T>): Promise<T> {
    return this.#writing.run(act);
  }

  /** What is set aside was changed by an act between writes. */
  forgetDead(): void {
    this.#writer.forget();
  }

  resume(): void {
    this.#frozen = false;
    this.#wakeup.notify();
  }

  /**
   * Lets a frozen follower go on to a barrier: changes for which `plan.visible` holds are applied,
   * the others wait; when the log was read to `plan.ends`, what `plan.supply` gives is written, the
   * base snapshot is opened, and only then the waiting changes are applied, in log order.
   */
  runToBarrier(plan: BarrierPlan): Promise<BarrierOutcome<BaseReader>> {
    if (this.#barrier !== null) throw new UnderstudyError('INTERNAL', 'a barrier is already armed');
    const barrier = new Barrier(plan);
    if (this.#state.kind === 'stopped') barrier.fail(this.#end);
    else this.#barrier = barrier;
    this.resume();
    return barrier.reached as Promise<BarrierOutcome<BaseReader>>;
  }

  /** True when everything before `ends` was read and nothing complete is left to apply. */
  caughtUp(ends: OffsetMap, starts: OffsetMap): boolean {
    if (this.#barrier !== null || !this.#readTo(ends, starts)) return false;
    // Under traffic there is no idle moment, but the position tells. A chunk that came a moment
    // ago is read and not applied, though no apply is in flight yet.
    const drained =
      (this.#idle || this.#lacksParts) &&
      this.#drainedAt === this.#chunks &&
      !this.#parts.assembler.waitsBefore(ends);
    return drained || isPast(this.#position.offsets, ends, starts);
  }

  /** Waits until `condition` holds, or it stopped; it is tested again after every chunk and batch. */
  until(condition: () => boolean): Promise<void> {
    return this.#news.until(() => condition() || this.#state.kind === 'stopped');
  }

  #readTo(ends: OffsetMap, starts: OffsetMap): boolean {
    return isPast(new Map([...this.#position.offsets, ...this.consumed]), ends, starts);
  }

  async #applyLoop(log: Reading): Promise<void> {
    while (!this.#stop.signal.aborted) {
      if (this.#frozen && !this.#parts.assembler.goesInParts) {
        this.#state = { kind: 'frozen' };
        this.#setIdle();
        await this.#wakeup.wait(250);
        continue;
      }
      this.#state = { kind: 'following' };
      this.#idle = false;
      const chunks = this.#chunks;
      // Asked before what was read is taken: what comes meanwhile lies beyond the barrier.
      const readToBarrier = this.#readToBarrier();
      const { worked, drained } = await this.#applyNext(log);
      if (drained) this.#drainedAt = chunks;
      if (drained && readToBarrier && this.#nothingBeforeBarrierWaits()) {
        await this.#settleBarrier(log);
      }
      if (worked) this.#news.tell();
      if (worked || chunks !== this.#chunks) continue;
      this.#setIdle();
      if (this.#intakeDone && !this.#waitsForOrder()) {
        if (this.#intakeFailure !== null && !this.#stop.signal.aborted) throw this.#intakeFailure;
        return;
      }
      if (!this.#makeRoom(log.room)) await this.#wakeup.wait(250);
    }
  }

  /** No apply is in flight, and none has to be before another act. */
  #isStill(): boolean {
    return this.#idle && !this.#parts.assembler.goesInParts;
  }

  #setIdle(): void {
    if (this.#idle) return;
    this.#idle = true;
    this.#news.tell();
  }

  /** Applies one batch of what is ready. `drained`: nothing more was ready at that moment. */
  async #applyNext(log: Reading): Promise<{ readonly worked: boolean; readonly drained: boolean }> {
    const { assembler, limits } = this.#parts;
    const releases: Release[] = [];
    let events = 0;
    let bytes = 0;
    let drained = false;
    while (events < limits.batchEvents && bytes < limits.batchBytes) {
      const release = this.#put ?? assembler.take();
      this.#put = null;
      drained = release === undefined;
      if (release === undefined) break;
      if (release.part !== undefined || (release.isLate === true && releases.length > 0)) {
        this.#put = release;
        break;
      }
      releases.push(await this.#restored(release, log));
      if (release.isLate === true) break;
      events += release.changes.length;
      bytes += release.bytes;
    }
    if (releases.length === 0 && this.#put !== null) {
      await this.#applyParts(this.#put, log);
      log.room.applied(1);
      this.#put = null;
      return { worked: true, drained: false };
    }
    if (releases.length === 0) return { worked: false, drained };
    const now = this.#barrier?.admit(releases) ?? { releases, holdPosition: false };
    await this.#writer.write(now.releases, now.holdPosition);
    const freed = now.releases.reduce((sum, release) => sum + release.bytes, 0);
    log.credit.free(freed);
    log.room.applied(freed);
    await log.stream.commit(this.#position.offsets);
    return { worked: true, drained };
  }

  /** Applies a transaction that does not fit into memory, whole. */
  async #applyParts(first: Release, log: Reading): Promise<void> {
    try {
      await writeLarge(first, {
        ...{ ...this.#parts, writer: this.#writer, credit: log.credit },
        admit: (release) => this.#admitted(release),
        more: () => this.#moreParts(log),
      });
    } catch (error) {
      if (this.#stop.signal.aborted || this.#intakeDone) throw error;
      throw new LargeUnwritten(first.transactionId ?? '', error);
    }
    await log.stream.commit(this.#position.offsets);
  }

  #makeRoom(room: Room): boolean {
    // What is beyond a barrier has to wait: parts would be written on both sides of it.
    return room.make(this.#barrier === null);
  }

  async #moreParts(log: Reading): Promise<void> {
    this.#stop.signal.throwIfAborted();
    if (this.#intakeDone) {
      const what = 'the log ends within a source transaction';
      throw this.#intakeFailure ?? new UnderstudyError('INTERRUPTED', what);
    }
    if (this.#makeRoom(log.room)) return;
    this.#drainedAt = this.#chunks;
    this.#lacksParts = true;
    this.#news.tell();
    await this.#wakeup.wait(250);
    this.#lacksParts = false;
  }

  /** Without what is not to be applied, or was applied ahead in a former run. */
  #admitted(all: Release): Release {
    if (!all.complete && all.part !== 'more') this.#noteDegraded(all);
    const release = this.#parts.trim?.(all) ?? all;
    const ahead = this.#appliedAhead;
    if (ahead === null) return release;
    return { ...release, changes: release.changes.filter(({ at }) => !ahead.has(at)) };
  }

  /** With what a late truncate must not take along: that is in the log before the position. */
  async #restored(release: Release, log: Reading): Promise<Release> {
    if (release.isLate !== true) return this.#admitted(release);
    await this.#giveUpBarrier(log);
    const { offsets } = this.#position;
    const all = await restored(this.#admitted(release), offsets, this.#parts, this.#stop.signal);
    if (!all.complete) this.#noteDegraded(all);
    return all;
  }

  #noteDegraded(release: Release): void {
    this.#totals.degraded += 1;
    tellIncomplete(release, this.#parts.logger);
  }

  #readToBarrier(): boolean {
    const barrier = this.#barrier;
    return barrier !== null && this.#readTo(barrier.plan.ends, barrier.plan.starts);
  }

  /** Of a log that was read whole all goes, though some of it only when the ends are known. */
  #waitsForOrder(): boolean {
    return this.#intakeFailure === null && this.#parts.assembler.waitsBefore(this.consumed);
  }

  #nothingBeforeBarrierWaits(): boolean {
    const barrier = this.#barrier;
    return barrier !== null && !this.#parts.assembler.waitsBefore(barrier.plan.ends);
  }

  /** Opens the base and lets the deferred changes in: everything before the barrier is applied. */
  async #settleBarrier(log: Reading): Promise<void> {
    const barrier = this.#barrier;
    if (barrier === null) return;
    const held = [...this.#parts.assembler.heldChanges()].filter(
      ({ at }) => this.#appliedAhead?.has(at) !== true,
    );
    try {
      await barrier.plan.supply?.(barrier.missing(held), (steps) => this.#write(steps));
      const base = await this.#parts.database.openBaseSnapshot();
      barrier.reach(base, held);
    } catch (error) {
      barrier.fail(error);
    }
    await this.#letIn(barrier, log);
  }

  /** What waits for a barrier would be lost to a truncate: a check can be run again. */
  async #giveUpBarrier(log: Reading): Promise<void> {
    const barrier = this.#barrier;
    if (barrier === null) return;
    barrier.fail(new UnderstudyError('PIN_FAILED', 'a truncate came late: check again'));
    await this.#letIn(barrier, log);
  }

  async #letIn({ deferred }: Barrier, log: Reading): Promise<void> {
    this.#barrier = null;
    if (deferred.length > 0) {
      await this.#writer.write(deferred, false);
      log.credit.free(deferred.reduce((sum, release) => sum + release.bytes, 0));
      await log.stream.commit(this.#position.offsets);
    }
    this.#news.tell();
  }

  /**
   * Writes changes that come from no event; the position stays. Gives up soon: whoever brings them
   * can come again, and what is under way waits for it.
   */
  async #write(steps: readonly BatchStep[]): Promise<void> {
    if (steps.length === 0) return;
    const counts = { txIds: [], unmarked: 0, events: 0, transactions: 0, bytes: 0 };
    const after = { offsets: this.#position.offsets, ahead: null };
    const batch = { steps, position: this.#position, after, ahead: [], ...counts };
    await this.#withRetry(
      () => this.#parts.database.apply(this.#parts.fence, batch),
      Math.min(this.#parts.limits.giveUpAfterMs, FREEZE_LIMIT_MS),
    );
  }

  /** Retries what can pass by itself. */
  #withRetry<T>(
    act: () => Promise<T>,
    giveUpAfterMs = this.#parts.limits.giveUpAfterMs,
  ): Promise<T> {
    return withRetry(() => this.#writing.run(act), {
      ...{ giveUpAfterMs, signal: this.#stop.signal },
      onFailure: (error, attempt, sinceMs) => {
        this.#state = { kind: 'retrying', error, sinceMs };
        if (attempt % 10 === 0) {
          this.#parts.logger.warn('cannot write, trying again', { error, attempt });
        }
        this.#news.tell();
      },
    });
  }
}
