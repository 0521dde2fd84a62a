/**
 * The first and the last record of every partition, and what they tell of who wrote them: by the
 * extended headers, which Debezium adds by default, and by the source block, whatever the encoding.
 */
import { parsePartitionKey, type OffsetMap } from '../change/position.ts';
import { recordBytes, type LogRecord } from '../change/record.ts';
import type { OriginReader, RecordOrigin } from '../decode/origin.ts';
import type { Diagnosis } from '../dialect/dialect.ts';
import { isUnderstudyError, type UnderstudyError } from '../errors/understudy-error.ts';
import type { ChangeSource } from '../source/change-source.ts';

const LIMIT_MS = 20_000;
/** Behind the last record there may be control records, which no reader sees. */
const TAIL = 16n;
const NAMED = 5;

export interface Sample {
  readonly first: ReadonlyMap<string, LogRecord>;
  readonly last: ReadonlyMap<string, LogRecord>;
  /** Partitions of which an end did not come in time. */
  readonly unread: readonly string[];
}

/**
 * Reads some records at both ends of every partition. What does not come in time (milliseconds,
 * for each of the ends) is listed.
 */
export async function takeSample(
  source: ChangeSource,
  starts: OffsetMap,
  ends: OffsetMap,
  limitMs = LIMIT_MS,
): Promise<Sample> {
  const filled = new Map([...ends].filter(([key, end]) => end > (starts.get(key) ?? 0n)));
  const tails = new Map(
    [...filled].map(([key, end]) => {
      const start = starts.get(key) ?? 0n;
      return [key, end - TAIL > start ? end - TAIL : start];
    }),
  );
  const reader = { source, ends: filled, limitMs };
  const first = await readFrom(reader, starts, (known) => known !== undefined);
  const last = await readFrom(reader, tails, () => false);
  const unread = [...new Set([...first.unread, ...last.unread])].toSorted();
  return { first: first.found, last: last.found, unread };
}

/** The record of each partition that `settled` accepts, else the last with a value before its end. */
async function readFrom(
  reader: { readonly source: ChangeSource; readonly ends: OffsetMap; readonly limitMs: number },
  from: OffsetMap,
  settled: (known: LogRecord | undefined) => boolean,
): Promise<{ readonly found: ReadonlyMap<string, LogRecord>; readonly unread: Iterable<string> }> {
  const { source, ends, limitMs } = reader;
  const found = new Map<string, LogRecord>();
  const open = new Set(ends.keys());
  if (open.size === 0) return { found, unread: open };
  const signal = AbortSignal.timeout(limitMs);
  // A partition that is not named would be read from its start.
  const all = new Map([...ends, ...from]);
  await using stream = await source.open(all, {
    budgetBytes: 64 * 1024 * 1024,
    group: 'understudy.doctor',
    signal,
  });
  const late = (): void => {
    void stream[Symbol.asyncDispose]();
  };
  signal.addEventListener('abort', late, { once: true });
  try {
    for await (const { topic, partition, records, next } of stream.chunks) {
      const key = `${topic}/${partition}`;
      for (const record of records) {
        // A tombstone says nothing, and stands behind the delete that does.
        if (record.value !== null && !settled(found.get(key))) found.set(key, record);
        stream.released(recordBytes(record));
      }
      if (settled(found.get(key)) || next >= (ends.get(key) ?? 0n)) open.delete(key);
      if (open.size === 0) break;
    }
  } finally {
    signal.removeEventListener('abort', late);
  }
  return { found, unread: open };
}

export interface Expected {
  readonly topicPrefix: string;
  readonly connector: string;
  /** One connector reads one database; null where it reads several. */
  readonly database: string | null;
  readonly registry: boolean;
  /** Where `a` stands seen from `b` in production's log. */
  readonly compare: OriginReader['compare'];
}

/** What the ends of the topics show: records of others, of another database, of two histories. */
export function diagnoseSample(
  sample: Sample,
  origins: Origins,
  expected: Expected,
): readonly Diagnosis[] {
  const found = new Map<string, Diagnosis>();
  const add = (id: string, level: Diagnosis['level'], message: string, cure: string): void => {
    if (!found.has(id)) found.set(id, { id: `log.${id}`, level, message, cure });
  };
  const anew = 'give the connector a topic.prefix that was never used, and snapshot anew';
  for (const [key, last] of sample.last) {
    const { topic } = parsePartitionKey(key);
    const first = sample.first.get(key) ?? last;
    for (const record of [first, last]) {
      if (record.value?.[0] === 0 && !expected.registry) {
        const message = `${topic} holds records of a schema registry, and none is configured`;
        add('encoding', 'error', message, 'set source.schemaRegistry');
      }
      const { name, connector, database } = writerOf(record, origins.get(record));
      if (name !== null && name !== expected.topicPrefix) {
        const message = `${topic} holds records of a connector with topic.prefix ${name}: rows of two sources are mixed`;
        add('foreign-records', 'error', message, anew);
      } else if (connector !== null && connector !== expected.connector) {
        const message = `${topic} holds records of a ${connector} connector: the topic was used before`;
        add('foreign-records', 'error', message, anew);
      } else if (
        database !== null &&
        expected.database !== null &&
        database !== expected.database
      ) {
        const message = `${topic} holds records of database ${database}: the topic was used before`;
        add('foreign-records', 'error', message, anew);
      }
    }
    const [before, after] = [origins.get(first)?.own, origins.get(last)?.own];
    if (before === null || before === undefined || after === null || after === undefined) continue;
    if (isSecondSnapshot(before, after, expected.compare)) {
      const message = `${topic} holds a snapshot behind changes or another snapshot: rows deleted between two runs of the connector stay in the shadow`;
      add('snapshot-after-changes', 'warning', message, anew);
    } else if (goesBack(before, after, expected.compare)) {
      const message = `${topic} goes back in production’s log: production was replaced or restored, and the topic used again`;
      add('history-restarted', 'error', message, anew);
    }
  }
  const { length } = sample.unread;
  if (length > 0) {
    const more = length > NAMED ? ` and ${length - NAMED} more` : '';
    const message = `records at the ends of ${length} partitions did not come in time, and were not looked at: ${sample.unread.slice(0, NAMED).join(', ')}${more}`;
    add('sample-incomplete', 'warning', message, 'run it again when the brokers answer faster');
  }
  return [...found.values()];
}

type Own = NonNullable<RecordOrigin['own']>;

/** An incremental snapshot comes in the middle of the stream by design; all of another is one read. */
function isSecondSnapshot(first: Own, last: Own, compare: Expected['compare']): boolean {
  if (last.snapshot !== 'initial' || first.snapshot === 'incremental') return false;
  if (first.snapshot === 'no') return true;
  const between = compare(last.position, first.position);
  return between === 'before' || between === 'after';
}

function goesBack(first: Own, last: Own, compare: Expected['compare']): boolean {
  if (last.snapshot !== 'no' || first.snapshot === 'incremental') return false;
  if (compare(last.position, first.position) !== 'before') return false;
  // What was committed while a snapshot began may come behind it, and is older than it.
  return first.snapshot === 'no' || (last.timeMs ?? 0) > (first.timeMs ?? 0);
}

/** What the records of a sample say of their origin. Asked once for each. */
export type Origins = ReadonlyMap<LogRecord, RecordOrigin>;

/**
 * Reads who wrote the records of a sample; `prepare` fetches the schemas that one needs. Of records
 * whose schema cannot be had nothing is read; the first error is told beside. Of a registry that
 * does not answer no more is asked.
 */
export async function readOrigins(
  sample: Sample,
  reader: Pick<OriginReader, 'read'>,
  prepare: (record: LogRecord) => Promise<void> | null,
): Promise<{ readonly origins: Origins; readonly failure: UnderstudyError | null }> {
  const origins = new Map<LogRecord, RecordOrigin>();
  let failure: UnderstudyError | null = null;
  for (const record of [...sample.first.values(), ...sample.last.values()]) {
    try {
      if (failure?.code !== 'REGISTRY_UNREACHABLE') await prepare(record);
      const origin = reader.read(record);
      if (origin !== null) origins.set(record, origin);
    } catch (error) {
      if (!isUnderstudyError(error)) throw error;
      failure ??= error;
    }
  }
  return { origins, failure };
}

/** Who wrote a record, as far as it or its headers say. */
interface Writer {
  /** topic.prefix. */
  readonly name: string | null;
  readonly connector: string | null;
  readonly database: string | null;
}

function writerOf(record: LogRecord, origin: RecordOrigin | undefined): Writer {
  const header = (name: string): string | null => {
    const value = record.headers.find(([key]) => key === `__debezium.context.${name}`)?.[1];
    if (value === undefined) return null;
    const text = value.toString('utf8');
    return text.startsWith('"') ? text.slice(1, -1) : text;
  };
  return {
    name: header('connectorLogicalName') ?? origin?.name ?? null,
    connector: header('connectorName') ?? origin?.connector ?? null,
    database: origin?.database ?? null,
  };
}
