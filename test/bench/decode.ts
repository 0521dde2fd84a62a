/**
 * `npm run bench:decode`: real change events decoded, in each of the three encodings, beside a
 * parser that only reads the same bytes: `JSON.parse` of key and value, or avsc with exact 64-bit
 * integers. Single-threaded, all bytes in memory, schemas known; per second of processor time, so
 * that whoever else uses the machine counts less.
 *
 * Cases: `narrow`, tables of a few plain columns; `wide`, tables of every type that the decoder
 * reads, up to 50 columns; `edge`, the rows of those that have an integer beyond 2^53, whose JSON
 * has to be read twice. The goal is that a schema in every event costs us next to nothing.
 */
import type avsc from 'avsc';
import type { ChangeEvent, LogRecord } from '../../src/change/record.ts';
import { imageValue } from '../../src/change/value.ts';
import type { Decoder } from '../../src/decode/decoder.ts';
import { UnderstudyError } from '../../src/errors/understudy-error.ts';
import {
  captureDecoder,
  capturedCatalogue,
  capturedRecords,
  capturedRegistry,
  DEFAULT_MODES,
} from '../support/debezium-records.ts';
import { plainAvsc } from '../support/plain-avsc.ts';
import { benchMain, type BenchCase, type BenchStage } from './frame.ts';

/** Which captures hold the same changes in both encodings. */
interface Capture {
  /** Of `capturedCatalogue`. */
  readonly database: 'types' | 'behaviour';
  readonly json: { readonly file: string; readonly prefix: string };
  readonly avro: { readonly file: string; readonly prefix: string };
  /** Tables that both have, and that hold no row larger than a page. */
  readonly tables: readonly string[];
  /** Only the rows with an integer that JSON.parse rounds, or only the others. */
  readonly rounded: boolean;
}

const TYPES = {
  database: 'types',
  json: { file: 'pg.types.default', prefix: 'obs_pg' },
  avro: { file: 'pg.types.default', prefix: 'obs_pgavro' },
  tables: ['t_arr', 't_char', 't_def', 't_geo', 't_inf', 't_num', 't_rng', 't_time'],
} as const;

const CAPTURES = {
  narrow: {
    database: 'behaviour',
    json: { file: 'pg.behaviour.default', prefix: 'obs_beh' },
    avro: { file: 'pg.behaviour', prefix: 'obs_behavro' },
    tables: ['cpk', 'del_def', 'pku', 'trunc1', 'tx1', 'tx2'],
    rounded: false,
  },
  wide: { ...TYPES, rounded: false },
  edge: { ...TYPES, rounded: true },
} as const satisfies Record<string, Capture>;

type Encoding = 'JSON with schema' | 'JSON' | 'Avro';

/** Short, so that what else runs on the machine meets both sides of a round alike. */
const RUN_MS = 100;

function open(capture: Capture, encoding: Encoding): BenchStage {
  const { file, prefix } = encoding === 'Avro' ? capture.avro : capture.json;
  const decoder = captureDecoder(
    prefix,
    capturedCatalogue(capture.database),
    DEFAULT_MODES,
    encoding === 'Avro' ? capturedRegistry() : null,
  );
  const rounded = roundedRows(capture);
  const topics = new Set(capture.tables.map((table) => `${prefix}.public.${table}`));
  const captured = [...capturedRecords(file, encoding === 'Avro' ? 'avro' : 'json')]
    .filter(({ topic, value }) => topics.has(topic) && value !== null)
    .map((record) => (encoding === 'JSON' ? withoutSchemas(record) : record));
  const records = captured.filter((record) => {
    const change = readable(decoder, record);
    return change !== null && rounded.has(rowName(change)) === capture.rounded;
  });
  const bytes = records.reduce((sum, record) => sum + size(record), 0) / records.length;
  console.error(`${encoding}: ${records.length} records of ${Math.round(bytes)} bytes`);
  const read = encoding === 'Avro' ? avroReader() : readJson;
  const decode = (record: LogRecord): void => {
    if (decoder.decode(record).kind !== 'change') throw new Error('expected a change');
  };
  return {
    ours: () => Promise.resolve(eventsPerSecond(records, decode)),
    theirs: () =>
      Promise.resolve(
        eventsPerSecond(records, ({ key, value }) => {
          if (key !== null) read(key);
          if (value !== null) read(value);
        }),
      ),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** The change, or null for a record that holds a value which the decoder refuses. */
function readable(decoder: Decoder, record: LogRecord): ChangeEvent | null {
  try {
    const decoded = decoder.decode(record);
    return decoded.kind === 'change' ? decoded : null;
  } catch (error) {
    if (error instanceof UnderstudyError) return null;
    throw error;
  }
}

function rowName({ table, key }: ChangeEvent): string {
  return `${table.name} ${key === null ? '' : String(imageValue(key, 'id'))}`;
}

/** The rows of the JSON capture that have an integer which JSON.parse rounds. */
function roundedRows({ database, json, tables }: Capture): ReadonlySet<string> {
  const decoder = captureDecoder(json.prefix, capturedCatalogue(database));
  const topics = new Set(tables.map((table) => `${json.prefix}.public.${table}`));
  const rows = new Set<string>();
  for (const record of capturedRecords(json.file)) {
    if (!topics.has(record.topic) || record.value === null) continue;
    const change = readable(decoder, record);
    const { payload } = JSON.parse(record.value.toString('utf8')) as {
      readonly payload: { readonly before: unknown; readonly after: unknown };
    };
    if (change !== null && [payload.before, payload.after].some(isRounded)) {
      rows.add(rowName(change));
    }
  }
  return rows;
}

function isRounded(value: unknown): boolean {
  if (typeof value === 'number') return Number.isInteger(value) && !Number.isSafeInteger(value);
  return typeof value === 'object' && value !== null && Object.values(value).some(isRounded);
}

function size({ key, value }: LogRecord): number {
  return (key?.length ?? 0) + (value?.length ?? 0);
}

function eventsPerSecond(records: readonly LogRecord[], take: (record: LogRecord) => void): number {
  const start = process.cpuUsage();
  let events = 0;
  let milliseconds = 0;
  while (milliseconds < RUN_MS) {
    // The clock is worth as much as some records.
    for (let pass = 0; pass < 20; pass += 1) for (const record of records) take(record);
    events += 20 * records.length;
    const { user, system } = process.cpuUsage(start);
    milliseconds = (user + system) / 1000;
  }
  return (events / milliseconds) * 1000;
}

function readJson(bytes: Buffer): void {
  JSON.parse(bytes.toString('utf8'));
}

const PAYLOAD = ',"payload":';

/** The record as a converter with schemas.enable=false writes it. */
function withoutSchemas(record: LogRecord): LogRecord {
  const bare = (bytes: Buffer | null): Buffer | null => {
    if (bytes === null) return null;
    const from = bytes.indexOf(PAYLOAD);
    if (from < 0) throw new Error('a record without a schema part');
    return bytes.subarray(from + PAYLOAD.length, bytes.length - 1);
  };
  return { ...record, key: bare(record.key), value: bare(record.value) };
}

/** Bytes of Confluent's framing before the datum. */
const FRAME = 5;

function avroReader(): (bytes: Buffer) => void {
  const { schemas } = capturedRegistry();
  const types = new Map<number, avsc.Type>();
  return (bytes) => {
    const id = bytes.readInt32BE(1);
    let type = types.get(id);
    if (type === undefined) {
      const schema = schemas.schema({ kind: 'id', id: String(id) });
      type = plainAvsc(schema);
      types.set(id, type);
    }
    type.fromBuffer(bytes.subarray(FRAME));
  };
}

function caseOf(name: keyof typeof CAPTURES, encoding: Encoding): BenchCase {
  return {
    name: `${name} ${encoding}`,
    against: encoding === 'Avro' ? 'avsc alone' : 'JSON.parse alone',
    unit: 'events/s',
    better: 'higher',
    goal: encoding === 'JSON with schema' && name !== 'edge' ? 3 : null,
    open: () => Promise.resolve(open(CAPTURES[name], encoding)),
  };
}

const ENCODINGS: readonly Encoding[] = ['JSON with schema', 'JSON', 'Avro'];
const cases = (['narrow', 'wide', 'edge'] as const).flatMap((name) =>
  ENCODINGS.map((encoding) => caseOf(name, encoding)),
);

process.exitCode = await benchMain(
  { name: 'decode', cases, runs: 31, warmups: 5 },
  process.argv.slice(2),
);
