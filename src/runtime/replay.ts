/**
 * Dead letters of a database that this process holds: their queues are read from the log again and
 * written, or given up.
 */
import { replay, type ReplayOutcome } from '../apply/replay.ts';
import { causeOf } from '../change/dead-cause.ts';
import { partitionKey, type LogOffset } from '../change/position.ts';
import type { ChangeEvent, LogRecord } from '../change/record.ts';
import type { DeadLetter, DeadLetterBox } from '../dialect/dead-letters.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import { readPlaces } from '../source/read-places.ts';
import { withoutKey } from '../source/record-seal.ts';
import { openDecoding, type Decoding } from './decoding.ts';
import { inspectSource } from './inspected-source.ts';
import { openSeal } from './letter-keeper.ts';
import type { Stage } from './stage.ts';

/** The letters with these ids, or all with null. DEAD_LETTER_NOT_FOUND if one is not there. */
export async function lettersOf(
  box: DeadLetterBox,
  ids: readonly string[] | null,
): Promise<readonly DeadLetter[]> {
  const letters = await box.list(ids ?? undefined);
  const missing = ids?.find((id) => !letters.some((letter) => letter.id === id));
  if (missing === undefined) return letters;
  throw new UnderstudyError('DEAD_LETTER_NOT_FOUND', `there is no dead letter '${missing}'`);
}

/**
 * Writes the queues of these letters, or of all with null, each in one transaction with the end of
 * its letter: all together if that goes, else one by one, since one may have waited for another.
 * Errors: those of decoding and `apply`.
 */
export async function replayLetters(
  stage: Stage,
  ids: readonly string[] | null,
): Promise<ReplayOutcome> {
  const box = stage.database.deadLetters;
  const queue = await Queue.open(stage);
  // What is there already is read beside the follower; what comes meanwhile, in our turn.
  const before = await lettersOf(box, ids);
  await queue.prefetch(await box.queue(before.map(({ id }) => id)));
  return stage.betweenWrites(async () => {
    const letters = await lettersOf(box, ids);
    try {
      return await replay(
        {
          ...{ database: stage.database, fence: stage.holder.fence, box },
          ...{ catalogue: queue.catalogue, events: (places) => queue.read(places) },
        },
        letters.map(({ id }) => id),
      );
    } finally {
      await stage.forgetDead();
    }
  });
}

/** Events by their places, read from the log once. */
class Queue {
  readonly catalogue: SchemaCatalogue;
  readonly #stage: Stage;
  readonly #decoding: Decoding;
  readonly #known = new Map<string, ChangeEvent>();

  private constructor(stage: Stage, catalogue: SchemaCatalogue, decoding: Decoding) {
    this.#stage = stage;
    this.catalogue = catalogue;
    this.#decoding = decoding;
  }

  static async open(stage: Stage): Promise<Queue> {
    const { config, connect, logger, includes } = stage.context;
    const inspected = await inspectSource(config, connect, logger);
    const catalogue = await stage.database.catalogue();
    return new Queue(
      stage,
      catalogue,
      openDecoding({
        ...{ config: inspected, catalogue, includes, logger, setsAside: true },
        // What the shadow's table still cannot take is left, and does not keep others from going.
        held: causeOf,
      }),
    );
  }

  /** Of what is gone, reading it will tell. */
  async prefetch(places: readonly LogOffset[]): Promise<void> {
    try {
      await this.read(places);
    } catch (error) {
      if (!isUnderstudyError(error, 'LOG_GAP', 'SEAL_REFUSED')) throw error;
    }
  }

  /**
   * The events at these places, in their order: from the log, and where that no longer holds one from
   * what is kept. LOG_GAP if neither has it, SEAL_REFUSED if what is kept cannot be opened.
   */
  async read(places: readonly LogOffset[]): Promise<readonly ChangeEvent[]> {
    try {
      await this.#readLog(places);
    } catch (error) {
      if (!isUnderstudyError(error, 'LOG_GAP')) throw error;
      await this.#readKept(places);
      await this.#readLog(places);
    }
    return places.map((at) => {
      const event = this.#known.get(placeName(at));
      if (event !== undefined) return event;
      throw new UnderstudyError('LOG_GAP', 'a record that was set aside is not in the log', {
        ...at,
      });
    });
  }

  #missing(places: readonly LogOffset[]): readonly LogOffset[] {
    return places.filter((at) => !this.#known.has(placeName(at)));
  }

  get #signal(): AbortSignal {
    return AbortSignal.any([this.#stage.holder.lost, this.#stage.stopping]);
  }

  async #readLog(places: readonly LogOffset[]): Promise<void> {
    const missing = this.#missing(places);
    if (missing.length === 0) return;
    const { context, database } = this.#stage;
    await using source = await context.openSource();
    const { budgetBytes } = context.config.apply;
    const group = `understudy.${database.name}`;
    // Of a topic that was made again these places are other records'.
    const ids = await database.topics.known();
    const options = { budgetBytes, group, signal: this.#signal, ids };
    for await (const record of readPlaces(source, missing, options)) await this.#take(record);
  }

  /** What was kept of them is what the log had. */
  async #readKept(places: readonly LogOffset[]): Promise<void> {
    const { context, database } = this.#stage;
    const seal = openSeal(context.config);
    for (const at of this.#missing(places)) {
      const sealed = (await database.deadLetters.kept(at))?.sealed ?? null;
      if (sealed === null) continue;
      if (seal === null) throw withoutKey(at, sealed);
      await this.#take(seal.open(at, sealed));
    }
  }

  async #take(record: LogRecord): Promise<void> {
    await this.#decoding.prepare?.(record, { signal: this.#signal, onState: () => undefined });
    const decoded = this.#decoding.decode(record);
    if (decoded.kind !== 'change') {
      const what = 'a record that was set aside is no change any more';
      throw new UnderstudyError('RECORD_CORRUPT', what, { ...decoded.at });
    }
    this.#known.set(placeName(record), this.#decoding.mask(decoded));
  }
}

function placeName({ topic, partition, offset }: LogOffset): string {
  return `${partitionKey(topic, partition)}/${offset}`;
}
