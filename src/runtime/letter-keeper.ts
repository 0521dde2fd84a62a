/**
 * Keeps the records of dead letters, sealed, in a database that this process holds, if a key is
 * configured: read from the log again soon after they were set aside, so that they outlive it there.
 * What was set aside before there was a key is kept as well.
 */
import { partitionKey, type LogOffset } from '../change/position.ts';
import { recordBytes, type LogRecord } from '../change/record.ts';
import type { Config } from '../config/schema.ts';
import { dataKey } from '../config/data-key.ts';
import type { KeptRecord } from '../dialect/dead-letters.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import { readPlaces } from '../source/read-places.ts';
import { RecordSeal } from '../source/record-seal.ts';
import type { Stage } from './stage.ts';

/** Records read in one go; bytes of theirs written in one transaction, if it is more than one record. */
const AT_ONCE = 500;
const WRITTEN_BYTES = 4 * 1024 * 1024;

/** Null where no key is configured. */
export function openSeal(config: Config): RecordSeal | null {
  const text = config.deadLetters.encryptionKey?.reveal();
  const key = text === undefined ? null : dataKey(text);
  return key === null ? null : new RecordSeal(key);
}

/** Keeps what is not kept yet. Nothing without a key. */
export async function keepLetters(stage: Stage): Promise<void> {
  const seal = openSeal(stage.context.config);
  if (seal === null) return;
  const box = stage.database.deadLetters;
  for (;;) {
    const places = await box.unkept(AT_ONCE);
    if (places.length === 0) return;
    const kept = await new Keeping(stage, seal).keep(places);
    stage.context.logger.info('kept what was set aside', {
      database: stage.database.name,
      records: kept,
      not: places.length - kept,
    });
  }
}

class Keeping {
  readonly #stage: Stage;
  readonly #seal: RecordSeal;
  #ready: KeptRecord[] = [];
  #bytes = 0;
  #kept = 0;

  constructor(stage: Stage, seal: RecordSeal) {
    this.#stage = stage;
    this.#seal = seal;
  }

  /** Returns how many were there to be kept; of the others it is noted that they were not. */
  async keep(places: readonly LogOffset[]): Promise<number> {
    const left = new Map(places.map((at) => [nameOf(at), at]));
    while (left.size > 0) {
      try {
        await this.#read(left);
        if (left.size > 0) throw new UnderstudyError('INTERNAL', 'a record was not read');
      } catch (error) {
        const gone = isUnderstudyError(error, 'LOG_GAP') ? left.get(nameOf(error.context)) : null;
        if (gone === undefined || gone === null) throw error;
        left.delete(nameOf(gone));
        await this.#put({ at: gone, sealed: null, why: 'the log no longer held it' });
      }
    }
    await this.#flush();
    return this.#kept;
  }

  async #read(left: Map<string, LogOffset>): Promise<void> {
    const { context, database, holder, stopping } = this.#stage;
    const signal = AbortSignal.any([holder.lost, stopping]);
    await using source = await context.openSource();
    const { budgetBytes } = context.config.apply;
    const ids = await database.topics.known();
    const options = { budgetBytes, group: `understudy.${database.name}`, signal, ids };
    for await (const record of readPlaces(source, [...left.values()], options)) {
      const at = left.get(nameOf(record));
      if (at === undefined) continue;
      left.delete(nameOf(record));
      await this.#put(this.#sealed(at, record));
    }
  }

  #sealed(at: LogOffset, record: LogRecord): KeptRecord {
    const max = this.#stage.context.config.apply.maxRecordBytes;
    const bytes = recordBytes(record);
    if (bytes > max) {
      const why = `it has ${bytes} bytes, and apply.maxRecordBytes is ${max}`;
      return { at, sealed: null, why };
    }
    this.#kept += 1;
    return { at, sealed: this.#seal.seal(record), why: null };
  }

  async #put(record: KeptRecord): Promise<void> {
    this.#ready.push(record);
    this.#bytes += record.sealed?.bytes.length ?? 0;
    if (this.#bytes >= WRITTEN_BYTES) await this.#flush();
  }

  async #flush(): Promise<void> {
    const { database, holder } = this.#stage;
    const ready = this.#ready;
    [this.#ready, this.#bytes] = [[], 0];
    if (ready.length === 0) return;
    await this.#stage.betweenWrites(() => database.deadLetters.keep(holder.fence, ready));
  }
}

function nameOf({ topic = '', partition = -1, offset = -1n }: Partial<LogOffset>): string {
  return `${partitionKey(topic, partition)}/${offset}`;
}
