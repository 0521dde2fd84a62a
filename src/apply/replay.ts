/** Writes the events of dead letters, whatever has become of what they were refused for. */
import { errorOf } from '../change/dead-cause.ts';
import type { LogOffset } from '../change/position.ts';
import type { ChangeEvent } from '../change/record.ts';
import type { DeadLetterBox } from '../dialect/dead-letters.ts';
import type { Fence, ShadowDatabase } from '../dialect/dialect.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import type { ChangeBatch } from '../order/change-batch.ts';
import { coalesce } from '../order/coalesce.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';

export interface ReplayParts {
  readonly database: Pick<ShadowDatabase, 'apply' | 'progress'>;
  readonly fence: Fence;
  readonly box: DeadLetterBox;
  readonly catalogue: SchemaCatalogue;
  /**
   * The events at these places of the log, in their order. LOG_GAP if one is there no more and not
   * kept, SEAL_REFUSED if what is kept cannot be opened.
   */
  readonly events: (places: readonly LogOffset[]) => Promise<readonly ChangeEvent[]>;
}

export interface ReplayOutcome {
  /** Ids of letters whose events are written. */
  readonly replayed: readonly string[];
  /** Those that the shadow refuses still, that cannot be read, or that the log no longer holds. */
  readonly left: readonly {
    readonly id: string;
    readonly code: string;
    readonly message: string;
  }[];
}

/**
 * Writes the queues of these letters, each in one transaction with the end of its letter: all
 * together if that goes, else one by one, since one may wait for what another one brings. Nothing
 * may be written meanwhile by others. Errors: as of `events`, `coalesce` and `apply`, but for what is
 * told of each letter.
 */
export async function replay(parts: ReplayParts, ids: readonly string[]): Promise<ReplayOutcome> {
  return new Replay(parts).run(ids);
}

class Replay {
  readonly #parts: ReplayParts;

  constructor(parts: ReplayParts) {
    this.#parts = parts;
  }

  async run(ids: readonly string[]): Promise<ReplayOutcome> {
    if (ids.length === 0) return { replayed: [], left: [] };
    const together = await this.#write(ids);
    if (together === null) return { replayed: ids, left: [] };
    if (ids.length === 1) return { replayed: [], left: [leftOf(ids[0] ?? '', together)] };
    const replayed: string[] = [];
    let left = ids.map((id) => leftOf(id, together));
    for (let before = -1; before < replayed.length && left.length > 0;) {
      before = replayed.length;
      const still: ReplayOutcome['left'][number][] = [];
      for (const { id } of left) {
        const refusal = await this.#write([id]);
        if (refusal === null) replayed.push(id);
        else still.push(leftOf(id, refusal));
      }
      left = still;
    }
    return { replayed, left };
  }

  /** Null if it is written; else why a row is refused, or an event cannot be read. */
  async #write(ids: readonly string[]): Promise<UnderstudyError | null> {
    const { database, fence, catalogue } = this.#parts;
    const events = await this.#read(ids);
    if (events instanceof UnderstudyError) return events;
    const { position } = await database.progress();
    const batch: ChangeBatch = {
      steps: coalesce(events, catalogue),
      position,
      after: { offsets: position.offsets, ahead: null },
      ahead: [],
      replayed: ids,
      txIds: [],
      unmarked: 0,
      events: events.length,
      transactions: 0,
      bytes: events.reduce((sum, event) => sum + event.bytes, 0),
    };
    try {
      await database.apply(fence, batch);
      return null;
    } catch (error) {
      if (isUnderstudyError(error, 'APPLY_FAILED')) return error;
      throw error;
    }
  }

  /** The events of these letters; or why not all of them can be had. */
  async #read(ids: readonly string[]): Promise<readonly ChangeEvent[] | UnderstudyError> {
    let events: readonly ChangeEvent[];
    try {
      events = await this.#parts.events(await this.#parts.box.queue(ids));
    } catch (error) {
      if (isUnderstudyError(error, 'LOG_GAP', 'SEAL_REFUSED')) return error;
      throw error;
    }
    for (const event of events) {
      if (event.op === 'unread') return errorOf(event.cause, { ...event.at });
    }
    return events;
  }
}

function leftOf(id: string, { code, message, context }: UnderstudyError): ReplayOutcome['left'][0] {
  return {
    id,
    code,
    message: context.detail === undefined ? message : `${message}: ${context.detail}`,
  };
}
