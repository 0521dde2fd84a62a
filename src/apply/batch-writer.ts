/**
 * Writes releases as batches. What could not be read, or what the shadow refuses because of what a
 * row holds, is set aside with its key (order/dead-keys.ts), in the transaction that moves the
 * position past it. Where the shadow refuses, releases are halved until one is refused, and within it
 * the rows are found that are to blame.
 *
 * In memory stands what the database holds of dead keys. After an answer was lost nobody knows what
 * that is, so it is read again before the next batch is made, and after it was written.
 */
import { randomBytes } from 'node:crypto';
import { causeOf, type DeadCause } from '../change/dead-cause.ts';
import type { OffsetRange } from '../change/offset-ranges.ts';
import type { Position } from '../change/position.ts';
import type { ChangeEvent } from '../change/record.ts';
import { tableName } from '../change/table-id.ts';
import { RowRefused, type DeadLetterBox } from '../dialect/dead-letters.ts';
import type { ApplyOutcome, Fence, ShadowDatabase } from '../dialect/dialect.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import type { Logger } from '../observability/logger.ts';
import type { Release } from '../order/release.ts';
import type { BatchBuilder } from '../order/batch-builder.ts';
import type { ChangeBatch } from '../order/change-batch.ts';
import { isTied } from '../order/cascades.ts';
import { coalesce } from '../order/coalesce.ts';
import { DeadKeys, type Screened } from '../order/dead-keys.ts';
import { isNote } from '../order/given-up.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import { findPoison, type Unit } from './find-poison.ts';
import { samePosition } from './positions.ts';

export interface DeadLetterRules {
  readonly box: DeadLetterBox;
  readonly catalogue: SchemaCatalogue;
  /** Keys that may be dead before following stops. */
  readonly max: number;
  /** What foreign keys do unseen is carried out (order/cascades.ts). Default: no. */
  readonly cascades?: boolean;
  /** Asked before a change is set aside for its own sake. Default: nothing explains it. */
  readonly explain?: ExplainRefusal;
}

/** Rejects, instead of letting the change be set aside, where its table can be made to take it. */
export type ExplainRefusal = (change: ChangeEvent, cause: DeadCause) => Promise<void>;

export interface BatchWriterParts {
  readonly database: Pick<ShadowDatabase, 'name' | 'apply' | 'applyTogether'>;
  readonly fence: Fence;
  readonly builder: (position: Position) => BatchBuilder;
  /** Null: what is refused stops who follows. */
  readonly dead: DeadLetterRules | null;
  readonly logger: Logger;
  /** Runs an act while no other is running, and again while it meets what passes by itself. */
  readonly persist: <T>(act: () => Promise<T>) => Promise<T>;
  /** Runs an act while no other is running, and that once. */
  readonly once: <T>(act: () => Promise<T>) => Promise<T>;
  readonly position: () => Position;
  /** `inParts`: source transactions of which a part was set aside. */
  readonly onWritten: (batch: ChangeBatch, outcome: ApplyOutcome, inParts: number) => void;
}

type PoisonMap = ReadonlyMap<ChangeEvent, DeadCause>;
const NO_POISON: PoisonMap = new Map();

interface Made {
  readonly batch: ChangeBatch;
  readonly screened: Screened | null;
}

/** What was written of releases that are committed together. */
interface Together {
  last: ChangeBatch | null;
  events: number;
  inParts: number;
  readonly culprits: (readonly [ChangeEvent, DeadCause])[];
}

export class BatchWriter {
  readonly #parts: BatchWriterParts;
  #keys: DeadKeys | null = null;
  /** What `#keys` says may not be what the database holds. */
  #unsure = true;
  /** Of the last batch that was written ahead of the position. */
  #lastAhead: OffsetRange | null = null;

  constructor(parts: BatchWriterParts) {
    this.#parts = parts;
  }

  /** Somebody else changed what is set aside. */
  forget(): void {
    this.#unsure = true;
  }

  /**
   * Writes releases in their order. With `holdPosition` they are written ahead of the position,
   * which stays. Rejects as `apply` does, with what came before the refused release written;
   * DEAD_LETTERS_FULL if too much would be set aside.
   */
  async write(releases: readonly Release[], holdPosition: boolean): Promise<void> {
    try {
      await this.#write(releases, holdPosition, NO_POISON);
    } catch (error) {
      const dead = error instanceof RowRefused ? this.#parts.dead : null;
      const aside = dead !== null && dead.max > 0;
      if (!aside && !isUnderstudyError(error, 'DEAD_LETTERS_FULL')) throw error;
      const middle = releases.length >>> 1;
      if (middle > 0) {
        await this.write(releases.slice(0, middle), holdPosition);
        await this.write(releases.slice(middle), holdPosition);
        return;
      }
      if (!aside) throw error;
      const poison = await this.#findPoison(releases, holdPosition, dead);
      if (poison === null) throw error;
      await this.#write(releases, holdPosition, poison);
    }
  }

  /**
   * Writes releases that are committed together, as they come: parts of one source transaction. It
   * is tried once. Rejects as `apply` does, or as `releases` does, with nothing written.
   */
  async writeTogether(releases: AsyncIterable<Release>): Promise<void> {
    const { database, fence, once, onWritten } = this.#parts;
    const sum: Together = { last: null, events: 0, inParts: 0, culprits: [] };
    try {
      const outcome = await once(async () => {
        await this.#learn();
        return database.applyTogether(fence, this.#batches(releases, sum));
      });
      if (sum.last === null) return;
      onWritten({ ...sum.last, events: sum.events, transactions: 1 }, outcome, sum.inParts);
      for (const [change, cause] of sum.culprits) this.#tell(change, cause);
    } catch (error) {
      this.forget();
      throw error;
    }
  }

  async *#batches(
    releases: AsyncIterable<Release>,
    sum: Together,
  ): AsyncGenerator<ChangeBatch, void> {
    let start = this.#parts.position();
    for await (const release of releases) {
      const builder = this.#parts.builder(start);
      builder.add(release);
      const { batch, screened } = this.#make(builder, false, NO_POISON, start);
      yield batch;
      // Rows of before may be in a part that comes later.
      const carries = batch.steps.some(({ kind }) => kind === 'cascade');
      if (carries && sum.inParts === 0) {
        sum.inParts = 1;
        this.#parts.logger.warn('what foreign keys did in a large transaction may differ', {
          transaction: release.transactionId,
        });
      }
      this.#keys = screened?.next ?? this.#keys;
      start = batch.position;
      sum.last = batch;
      sum.events += batch.events;
      sum.inParts = Math.max(sum.inParts, inParts([release], screened));
      sum.culprits.push(...culprits(screened, NO_POISON));
    }
  }

  async #write(
    releases: readonly Release[],
    holdPosition: boolean,
    poison: PoisonMap,
  ): Promise<void> {
    const { database, fence, onWritten, persist } = this.#parts;
    const builder = this.#collect(releases);
    let made: { readonly for: DeadKeys | null; readonly what: Made } | null = null;
    const written = await persist(async () => {
      await this.#learn();
      const keys = this.#keys;
      // An attempt anew is of the same batch, unless somebody changed what is set aside.
      made =
        made?.for === keys ? made : { for: keys, what: this.#make(builder, holdPosition, poison) };
      const { batch, screened } = made.what;
      const nothing = batch.steps.length === 0 && batch.dead === undefined;
      if (nothing && samePosition(batch.position, this.#parts.position())) return null;
      for (const [change, cause] of culprits(screened, poison)) {
        await this.#parts.dead?.explain?.(change, cause);
      }
      const unsure = this.#unsure;
      try {
        const outcome = await database.apply(fence, batch);
        if (unsure) await this.#reread();
        else this.#keys = screened?.next ?? keys;
        return { batch, outcome, screened };
      } catch (error) {
        this.#unsure ||= isUnderstudyError(error, 'SHADOW_UNREACHABLE');
        throw error;
      }
    });
    if (written === null) return;
    const { batch, outcome, screened } = written;
    this.#lastAhead = batch.ahead?.at(-1) ?? this.#lastAhead;
    const { uncarried = 0 } = outcome;
    if (uncarried > 0) this.#parts.logger.warn(UNCARRIED, { changes: uncarried });
    onWritten(batch, outcome, inParts(releases, screened));
    for (const [change, cause] of culprits(screened, poison)) this.#tell(change, cause);
  }

  #collect(releases: readonly Release[]): BatchBuilder {
    const builder = this.#parts.builder(this.#parts.position());
    for (const release of releases) builder.add(release);
    return builder;
  }

  #make(
    builder: BatchBuilder,
    holdPosition: boolean,
    poison: PoisonMap,
    position = this.#parts.position(),
  ): Made {
    const keys = this.#keys;
    const screened = keys === null ? null : this.#screen(keys, builder.changes, poison);
    const built = builder.build(screened?.kept);
    const { notes = null, images = [] } = screened ?? {};
    const after = { offsets: position.offsets, ahead: this.#lastAhead };
    const batch = { ...built, after, ...(notes !== null && { dead: notes, images }) };
    if (!holdPosition) return { batch, screened };
    // What notes tell of is read again from the position that stays, and known by `ahead`: they are
    // stored when that moves.
    const delivered = built.delivered?.filter((text) => !isNote(text)) ?? [];
    return {
      batch: { ...batch, position, ahead: builder.places(), delivered },
      screened,
    };
  }

  #screen(keys: DeadKeys, changes: readonly ChangeEvent[], poison: PoisonMap): Screened {
    const screened = keys.screen(changes, poison, newLetterId);
    this.#assertNotTied(screened);
    const max = this.#parts.dead?.max ?? 0;
    if (screened.next.size <= max || screened.next.size <= keys.size) return screened;
    const [found] = culprits(screened, poison);
    throw new UnderstudyError(
      'DEAD_LETTERS_FULL',
      'more rows cannot be written than may be set aside',
      {
        database: this.#parts.database.name,
        ...(found !== undefined && { ...found[0].at, table: tableName(found[0].table) }),
        detail: `${screened.next.size} keys, ${max} are allowed${found === undefined ? '' : `; ${found[1].message}`}`,
      },
    );
  }

  /**
   * What a parent's change does to rows of others cannot wait for a letter, nor pass by a row in one:
   * then nothing of these tables can be set aside, and who follows stops.
   */
  #assertNotTied({ aside }: Screened): void {
    const { dead, database } = this.#parts;
    if (dead?.cascades !== true) return;
    for (const { at, table } of aside) {
      if (!isTied(tableName(table), dead.catalogue)) continue;
      const what = 'a row that foreign keys tie to others unseen cannot be set aside';
      const context = { database: database.name, ...at, table: tableName(table) };
      throw new UnderstudyError('DEAD_LETTERS_FULL', what, context);
    }
  }

  /** Within the act's turn: what the database holds, if that is not known. */
  async #learn(): Promise<void> {
    if (!this.#unsure) return;
    await this.#reread();
    // What follows is to be read again as well if it was an answer that was lost: the position
    // then tells that the batch was written, and not what it set aside.
    this.#unsure = this.#keys !== null;
  }

  async #reread(): Promise<void> {
    const { dead } = this.#parts;
    this.#keys = dead === null ? null : DeadKeys.of(dead.catalogue, await dead.box.state());
    this.#unsure = false;
  }

  async #findPoison(
    releases: readonly Release[],
    holdPosition: boolean,
    dead: DeadLetterRules,
  ): Promise<PoisonMap | null> {
    const { fence, persist } = this.#parts;
    const builder = this.#collect(releases);
    const { batch, screened } = await persist(async () => {
      await this.#learn();
      return this.#make(builder, holdPosition, NO_POISON);
    });
    const keys = this.#keys;
    if (screened === null || keys === null) return null;
    const { kept } = screened;
    const found = await findPoison(unitsOf(kept, keys), (without) => {
      const steps = coalesce(
        kept.filter((change) => !without.has(change)),
        dead.catalogue,
        { cascades: dead.cascades ?? false },
      );
      return persist(() => dead.box.rehearse(fence, { ...batch, steps }));
    });
    if (found === null || found.length === 0) return null;
    return new Map(found.map(({ change, refusal }) => [change, causeOf(refusal)]));
  }

  #tell(change: ChangeEvent, cause: DeadCause): void {
    const what = change.op === 'unread' ? 'read' : 'written';
    this.#parts.logger.error(`a change cannot be ${what} and is set aside with its key`, {
      ...{ topic: change.at.topic, partition: change.at.partition },
      offset: change.at.offset.toString(),
      table: tableName(change.table),
      ...cause,
    });
  }
}

const UNCARRIED =
  'foreign keys forbade changes that production took, so no rows of others went with them';

/** Short, for people to type. */
function newLetterId(): string {
  return randomBytes(4).toString('hex');
}

/** What is set aside for its own sake, with the cause. */
function culprits(
  screened: Screened | null,
  poison: PoisonMap,
): readonly (readonly [ChangeEvent, DeadCause])[] {
  const found = [...(screened?.aside ?? [])].flatMap((change) => {
    const cause = change.op === 'unread' ? change.cause : poison.get(change);
    return cause === undefined ? [] : [[change, cause] as const];
  });
  return found;
}

/** Source transactions that were not applied whole, because a part was set aside. */
function inParts(releases: readonly Release[], screened: Screened | null): number {
  const aside = screened?.aside ?? new Set();
  if (aside.size === 0) return 0;
  return releases.filter(
    ({ transactionId, changes }) =>
      transactionId !== null && changes.some((change) => aside.has(change)),
  ).length;
}

/** Changes that touch the same keys, directly or by others. Truncates are none. */
function unitsOf(changes: readonly ChangeEvent[], keys: DeadKeys): readonly Unit<ChangeEvent>[] {
  const groups = new Map<string, { slots: Set<string>; changes: ChangeEvent[] }>();
  for (const change of changes) {
    if (change.op === 'truncate') continue;
    const slots = keys.slots(change);
    const found = [...new Set(slots.flatMap((slot) => groups.get(slot) ?? []))];
    const [group = { slots: new Set<string>(), changes: [] as ChangeEvent[] }, ...others] = found;
    for (const other of others) {
      group.changes.push(...other.changes);
      for (const slot of other.slots) group.slots.add(slot);
    }
    group.changes.push(change);
    for (const slot of slots) group.slots.add(slot);
    for (const slot of group.slots) groups.set(slot, group);
  }
  const place = new Map(changes.map((change, i) => [change, i]));
  return Array.from(new Set(groups.values()), (group) => ({
    changes: group.changes.toSorted((a, b) => (place.get(a) ?? 0) - (place.get(b) ?? 0)),
    single:
      group.slots.size === 1 && group.changes.every((change) => keys.slots(change).length === 1),
  }));
}
