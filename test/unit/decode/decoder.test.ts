import { describe, expect, test } from 'vitest';
import type { ChangeEvent, DecodedRecord, LogRecord } from '../../../src/change/record.ts';
import { tableName } from '../../../src/change/table-id.ts';
import { imageValue, UNAVAILABLE, UNSURE, type RowImage } from '../../../src/change/value.ts';
import type { ConnectorModes } from '../../../src/decode/modes.ts';
import { isUnderstudyError, type UnderstudyError } from '../../../src/errors/understudy-error.ts';
import {
  captureDecoder,
  capturedCatalogue,
  capturedRecords,
  DEFAULT_MODES,
} from '../../support/debezium-records.ts';

const catalogue = capturedCatalogue('behaviour');

function decodeAll(
  capture: string,
  prefix: string,
  modes: ConnectorModes,
): { readonly records: readonly DecodedRecord[]; readonly errors: readonly UnderstudyError[] } {
  const decoder = captureDecoder(prefix, catalogue, modes);
  const records: DecodedRecord[] = [];
  const errors: UnderstudyError[] = [];
  for (const record of capturedRecords(capture)) {
    try {
      records.push(decoder.decode(record));
    } catch (error) {
      if (!isUnderstudyError(error)) throw error;
      errors.push(error);
    }
  }
  return { records, errors };
}

const behaviour = decodeAll('pg.behaviour.default', 'obs_beh', DEFAULT_MODES);

function changes(table: string, records = behaviour.records): readonly ChangeEvent[] {
  return records
    .filter((record) => record.kind === 'change')
    .filter((change) => tableName(change.table) === `public.${table}`);
}

function row(image: RowImage | null): unknown {
  if (image === null) return null;
  return Object.fromEntries(image.shape.columns.map((name) => [name, imageValue(image, name)]));
}

describe('key changes', () => {
  test('come as a delete with the new key and a create with the old one', () => {
    const [gone, come] = changes('pku_full').filter((change) => change.transaction !== null);
    expect([row(gone?.key ?? null), row(gone?.newKey ?? null)]).toEqual([
      { id: '1' },
      { id: '10' },
    ]);
    expect([row(come?.oldKey ?? null), row(come?.after ?? null)]).toEqual([
      { id: '1' },
      { id: '10', v: 'a' },
    ]);
    expect(gone?.transaction?.id).toBe(come?.transaction?.id);
    expect(gone?.transaction?.id).toMatch(/^\d+$/);
  });

  test('of a composite key carry all its columns', () => {
    const moved = changes('cpk').find((change) => change.op === 'delete');
    expect(row(moved?.newKey ?? null)).toEqual({ b: 'x', a: '9' });
  });

  test('leave large values unavailable in the create', () => {
    const create = changes('toast_int4_arr').find((change) => change.oldKey !== null);
    expect(create?.op).toBe('create');
    expect(imageValue(create?.after ?? never(), 'v')).toBe(UNAVAILABLE);
  });
});

/** Small enough to be stored in the row after all; written anew by two later updates. */
const SENT = ['toast_numeric_1000_2', 'toast_text', 'toast_text'];

describe('values that were not sent', () => {
  test('are unavailable in updates of every type, by placeholder or by NULL', () => {
    const kept = behaviour.records
      .filter((record) => record.kind === 'change')
      .filter((change) => change.op === 'update' && change.table.name.startsWith('toast_'))
      .filter((change) => imageValue(change.after ?? never(), 'other') === '1');
    expect(kept.length).toBeGreaterThanOrEqual(30);
    const sent = kept.filter(
      (change) => typeof imageValue(change.after ?? never(), 'v') !== 'symbol',
    );
    expect(sent.map((change) => change.table.name)).toEqual(SENT);
  });

  test.each([
    [
      'pg.behaviour.toast-base64-map-double',
      'obs_behb64',
      { binary: 'base64', hstore: 'map', decimal: 'double' },
    ],
    [
      'pg.behaviour.toast-hex-isostring-string-unknown',
      'obs_behhex',
      { time: 'isostring', binary: 'hex', decimal: 'string', interval: 'string' },
    ],
  ] as const)('are unavailable in other modes too: %s', (capture, prefix, modes) => {
    const { records, errors } = decodeAll(capture, prefix, { ...DEFAULT_MODES, ...modes });
    expect(errors).toEqual([]);
    const kept = records
      .filter((record) => record.kind === 'change')
      .filter((change) => change.op === 'update' && change.before === null)
      .filter((change) => imageValue(change.after ?? never(), 'other') === '1')
      .filter((change) => typeof imageValue(change.after ?? never(), 'v') !== 'symbol');
    expect(kept.map((change) => change.table.name)).toEqual(SENT);
  });

  test('are unsure where a NULL may have been a real one, and counted', () => {
    const decoder = captureDecoder('obs_beh', catalogue);
    for (const record of capturedRecords('pg.behaviour.default')) {
      if (record.topic === 'obs_beh.public.toast_numeric') decoder.decode(record);
    }
    const updated = changes('toast_numeric').find((change) => change.op === 'update');
    expect(imageValue(updated?.after ?? never(), 'v')).toBe(UNSURE);
    expect([...decoder.doubtfulNulls]).toEqual([['public.toast_numeric.v', 1]]);
  });

  test('are data where the same text was inserted', () => {
    const inserted = changes('toast_text').find((change) => change.op === 'create');
    expect(imageValue(inserted?.after ?? never(), 'v')).toBe('__debezium_unavailable_value');
  });

  test('and a NULL of a type with a placeholder stays NULL', () => {
    const updates = changes('toast_text').filter((change) => change.op === 'update');
    expect(imageValue(updates.at(-1)?.after ?? never(), 'v')).toBeNull();
  });
});

test('a delete has its key and no made-up old row', () => {
  const gone = changes('del_def').find((change) => change.op === 'delete');
  expect([row(gone?.key ?? null), gone?.before, gone?.after]).toEqual([{ id: '1' }, null, null]);
});

test('truncates have no rows, and carry their transaction', () => {
  const [truncate] = changes('trunc1').filter((change) => change.op === 'truncate');
  expect(truncate).toMatchObject({ key: null, before: null, after: null });
  expect(truncate?.transaction).not.toBeNull();
});

test('transaction ends count rows of tables, not messages', () => {
  const ends = behaviour.records.flatMap((record) => ('counts' in record ? [record] : []));
  const names = new Set(ends.flatMap((end) => [...(end.counts?.keys() ?? [])]));
  expect([...names].filter((name) => !name.startsWith('public.'))).toEqual([]);
  expect(ends.every((end) => /^\d+$/.test(end.id))).toBe(true);
});

test('what cannot be decoded are tables and columns that the shadow lacks', () => {
  const codes = new Set(behaviour.errors.map((error) => error.code));
  expect([...codes].toSorted()).toEqual(['COLUMN_UNKNOWN', 'TABLE_UNKNOWN']);
  expect(behaviour.errors[0]?.context).toMatchObject({
    topic: 'obs_beh.public.ddl1',
    table: 'public.ddl1',
    column: 'n1',
  });
});

test('64-bit integers beyond 2^53 are exact', () => {
  const records = decodeAll('pg.traps.noschema-numeric-norepl', 'obs_trapn', DEFAULT_MODES).records;
  expect(row(changes('trap', records)[0]?.after ?? null)).toEqual({
    id: '1',
    i8: '9007199254740993',
    n: '1234567890123456.7890',
    nn: '1.1',
    dflt: null,
    dfli: null,
    b: Buffer.from([0xff]),
    ts: '2024-01-01 00:00:00.000001',
    d: '2024-01-01',
    f: 'NaN',
  });
});

describe('records without schema', () => {
  const trap = [...capturedRecords('pg.traps.noschema-numeric-norepl')].find(
    (record) => record.topic === 'obs_trapn.public.trap',
  );

  test('need the modes of the types they hold', () => {
    const { time: _, ...withoutTime } = DEFAULT_MODES;
    const error = failure(trap ?? never(), 'obs_trapn', withoutTime);
    expect(error).toMatchObject({ code: 'VALUE_UNREADABLE', context: { column: 'ts' } });
    expect(error.message).toContain('source.modes.time');
  });

  test('are snapshot rows or not by source.snapshot, where null means no', () => {
    const records = decodeAll(
      'pg.traps.noschema-numeric-norepl',
      'obs_trapn',
      DEFAULT_MODES,
    ).records;
    expect(changes('trap', records).map((change) => change.snapshot)).toContain('initial');
    expect(changes('trap', records).map((change) => change.snapshot)).toContain('no');
  });
});

test("a connector's own history of its source's tables is ignored", () => {
  const entry = {
    source: { server: 'obs_beh' },
    position: { ts_sec: 1_795_736_718, file: 'binlog.000002', pos: 157, snapshot: true },
    ts_ms: 1_795_736_718_117,
    databaseName: 'shop',
    ddl: 'CREATE TABLE `t` (`id` int PRIMARY KEY)',
    tableChanges: [],
  };
  const record = [...capturedRecords('pg.behaviour.default')][0] ?? never();
  const decode = (value: object): DecodedRecord =>
    captureDecoder('obs_beh', catalogue).decode({
      ...record,
      topic: 'obs_beh.schema-history',
      value: Buffer.from(JSON.stringify(value)),
    });
  expect(decode(entry).kind).toBe('ignored');
  const { position: _, ...other } = entry;
  expect(() => decode(other)).toThrow(/Debezium/);
});

describe('what is not to be read', () => {
  const good = [...capturedRecords('pg.behaviour.default')].find(
    (record) => record.topic === 'obs_beh.public.pku',
  );
  const value = good?.value ?? never();
  const at = (bytes: Buffer): LogRecord => ({ ...(good ?? never()), value: bytes });

  test.each([
    ['RECORD_CORRUPT', 'cut off', value.subarray(0, -10)],
    ['RECORD_CORRUPT', 'no JSON', Buffer.from('hello')],
    ['RECORD_CORRUPT', 'no UTF-8', brokenText(value)],
    ['RECORD_UNKNOWN', 'other JSON', Buffer.from('{"id":1}')],
    ['RECORD_UNKNOWN', 'a flattened delete', Buffer.from('{"schema":null,"payload":null}')],
    ['UNSUPPORTED', 'Avro', Buffer.from([0, 0, 0, 0, 7, 2])],
  ])('%s: %s', (code, _, bytes) => {
    const error = failure(at(bytes), 'obs_beh', DEFAULT_MODES);
    expect(error.code).toBe(code);
    expect(error.context).toMatchObject({
      topic: 'obs_beh.public.pku',
      partition: good?.partition,
      offset: good?.offset,
    });
  });

  test('events of another connector', () => {
    expect(failure(good ?? never(), 'another', DEFAULT_MODES).code).toBe('RECORD_UNKNOWN');
  });

  test('is found after a good record of the same topic too', () => {
    const decoder = captureDecoder('obs_beh', catalogue);
    decoder.decode(good ?? never());
    expect(() => decoder.decode(at(value.subarray(0, -10)))).toThrow(/not JSON|cut off/);
  });
});

function failure(record: LogRecord, prefix: string, modes: ConnectorModes): UnderstudyError {
  try {
    captureDecoder(prefix, catalogue, modes).decode(record);
  } catch (error) {
    if (isUnderstudyError(error)) return error;
    throw error;
  }
  throw new Error('was decoded');
}

/** The same record with a byte inside a text that is no UTF-8. */
function brokenText(value: Buffer): Buffer {
  const broken = Buffer.from(value);
  broken[broken.lastIndexOf('"public"') + 1] = 0xff;
  return broken;
}

function never(): never {
  throw new Error('is missing in the capture');
}
