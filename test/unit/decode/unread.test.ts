/**
 * What is told of a change without its value is what the value tells: for every captured record, the
 * reading of the value is the oracle.
 */
import { expect, test } from 'vitest';
import type { ChangeEvent, LogRecord } from '../../../src/change/record.ts';
import type { RowImage } from '../../../src/change/value.ts';
import { createDecoder, type Decoder } from '../../../src/decode/decoder.ts';
import { isUnderstudyError } from '../../../src/errors/understudy-error.ts';
import { image, textTable } from '../../support/change-events.ts';
import {
  captureDecoder,
  capturedCatalogue,
  capturedRecords,
  capturedRegistry,
  DEFAULT_MODES,
} from '../../support/debezium-records.ts';
import { payloadOf } from '../../support/read-topics.ts';

const CAUSE = { code: 'RECORD_CORRUPT', message: 'damaged' } as const;

const CAPTURES = [
  ['postgresql', 'behaviour', 'pg.behaviour.default', 'json'],
  ['postgresql', 'types', 'pg.types.default', 'json'],
  ['postgresql', 'behaviour', 'pg.behaviour', 'avro'],
  ['mysql', 'mysql', 'mysql.types.default', 'json'],
  ['mariadb', 'mariadb', 'mariadb.types.default', 'json'],
] as const;

/** The key's columns with their values; a row has more of them. */
function keyOf(image: RowImage | null): unknown {
  return image && Object.fromEntries(image.shape.columns.map((name, i) => [name, image.values[i]]));
}

function decoded(decoder: Decoder, record: LogRecord): ChangeEvent | null {
  try {
    const change = decoder.decode(record);
    return change.kind === 'change' ? change : null;
  } catch (error) {
    if (isUnderstudyError(error)) return null;
    throw error;
  }
}

test.for(CAPTURES)('of %s, %s, %s', ([connector, name, capture, encoding]) => {
  const catalogue = capturedCatalogue(name);
  let told = 0;
  const stopping: string[] = [];
  for (const record of capturedRecords(capture, encoding)) {
    const prefix = record.topic.split('.')[0] ?? '';
    const registry = encoding === 'avro' ? capturedRegistry() : null;
    const make = (): Decoder =>
      captureDecoder(prefix, catalogue, DEFAULT_MODES, registry, 'debezium', connector);
    const change = decoded(make(), record);
    if (change === null) continue;
    const damaged = { ...record, value: Buffer.from('\u0000damaged') };
    const unread = make().unread(damaged, CAUSE);
    if (unread === null) {
      const key = catalogue.get(`${change.table.schema}.${change.table.name}`)?.key ?? [];
      const sent = Object.keys(payloadOf(record.key) ?? {});
      // Else it is a truncate, or was sent while its table had another key.
      if (key.every((column) => sent.includes(column))) stopping.push(record.topic);
      continue;
    }
    told += 1;
    expect(unread).toMatchObject({ op: 'unread', cause: CAUSE, transaction: null });
    expect([unread.table, unread.at]).toEqual([change.table, change.at]);
    expect([unread.key, unread.oldKey, unread.newKey].map(keyOf)).toEqual(
      [change.key, change.oldKey, change.newKey].map(keyOf),
    );
  }
  expect(stopping).toEqual([]);
  expect(told).toBeGreaterThan(50);
});

test('of a change that can be read in part, what surrounds its rows is told too', () => {
  const decoder = captureDecoder('obs_beh', capturedCatalogue('behaviour'));
  const cause = { code: 'COLUMN_UNKNOWN', message: 'unlike' } as const;
  let marked = 0;
  for (const record of capturedRecords('pg.behaviour.default', 'json')) {
    const change = decoded(decoder, record);
    if (change === null) continue;
    const { at, source, transaction, eventTimeMs } = change;
    const held = decoder.held(record, change.table, cause);
    expect(held).toMatchObject({ op: 'unread', holds: true, key: null, cause });
    expect(held).toMatchObject({ at, source, transaction, eventTimeMs });
    if (transaction !== null) marked += 1;
    const unreadable = decoder.unread(record, { code: 'VALUE_UNREADABLE', message: 'unlike' });
    // Of a truncate nothing is told.
    expect(unreadable ?? { at, source, transaction }).toMatchObject({ at, source, transaction });
  }
  expect(marked).toBeGreaterThan(20);
});

const CATALOGUE = new Map([
  ['public.t', textTable('t', ['id', 'v'])],
  ['public.u', textTable('u', ['id', 'v'])],
  ['public.bag', textTable('bag', ['v'], false)],
]);

function record(topic: string, key: string | null): LogRecord {
  return {
    ...{ topic, partition: 0, offset: 5n, timestampMs: 0, headers: [] },
    ...{ key: key === null ? null : Buffer.from(key), value: Buffer.from('damaged') },
  };
}

test('a table without key needs no message key: all its rows wait', () => {
  const decoder = captureDecoder('p', CATALOGUE);
  expect(decoder.unread(record('p.public.bag', null), CAUSE)).toMatchObject({
    ...{ table: { name: 'bag' }, key: null },
  });
});

test.for([
  ['no message key', 'p.public.t', null],
  ['a key that is damaged too', 'p.public.t', '{"id":'],
  ['a key without the table’s', 'p.public.t', '{"v":"x"}'],
  [
    'what a router added to the key',
    'p.public.t',
    '{"id":"1","__dbz__physicalTableIdentifier":"x"}',
  ],
  ['a topic of no table', 'p.public.all_tables', '{"id":"1"}'],
  ['a topic of another prefix', 'q.public.t', '{"id":"1"}'],
] as const)('nothing is told by %s', ([, topic, key]) => {
  const decoder = captureDecoder('p', CATALOGUE);
  expect(decoder.unread(record('p.public.t', '{"id":"1"}'), CAUSE)).not.toBeNull();
  expect(decoder.unread(record(topic, key), CAUSE)).toBeNull();
});

test('nothing is told of a topic on which rows of another table were seen', () => {
  const decoder = captureDecoder('p', CATALOGUE);
  const of = (table: string): LogRecord => {
    const source = { connector: 'postgresql', name: 'p', schema: 'public', table, lsn: 1 };
    const after = { id: '1', v: 'x' };
    const value = Buffer.from(JSON.stringify({ op: 'c', source, before: null, after }));
    return { ...record('p.public.t', '{"id":"1"}'), value };
  };
  const tables = ['t', 'u', 't'].map((table) => decoder.decode(of(table)));
  expect(tables).toMatchObject([{ table: { name: 't' } }, { table: { name: 'u' } }, {}]);
  expect(decoder.unread(record('p.public.t', '{"id":"1"}'), CAUSE)).toBeNull();
  expect(decoder.unread(record('p.public.u', '{"id":"1"}'), CAUSE)).not.toBeNull();
});

test('in a topic of before it is of the table that had the name, and said to be sent under it', () => {
  const until = { connector: 'postgresql', lsn: 50n, lastCommitLsn: null, txId: null } as const;
  const name = { table: { schema: 'public', name: 'was' }, after: null, until };
  const table = { ...textTable('t', ['id', 'v']), names: [name] };
  const make = (isOld: boolean): Decoder =>
    createDecoder({
      ...{ connector: 'postgresql', topicPrefix: 'p', modes: DEFAULT_MODES, form: 'debezium' },
      ...{ catalogue: () => new Map([['public.t', table]]), isOld: () => isOld },
    });
  const key = image({ id: '1' });
  const damaged = record('p.public.was', '{"id":"1"}');
  const was = make(true).unread(damaged, CAUSE);
  expect(was).toMatchObject({ table: { name: 't' }, formerly: name.table, key });
  // It may be another table's, which is not here.
  expect(() => make(false).unread(damaged, CAUSE)).toThrow('a table that the shadow lacks');
  const now = make(true).unread(record('p.public.t', '{"id":"1"}'), CAUSE);
  expect(now).toMatchObject({ table: { name: 't' }, key });
  expect(now).not.toHaveProperty('formerly');
});

test('of a table that is no more it is passed over with its transaction, though another has its name', () => {
  const since = { connector: 'postgresql', lsn: 50n, lastCommitLsn: null, txId: null } as const;
  const make = (isGone: boolean): Decoder =>
    createDecoder({
      ...{ connector: 'postgresql', topicPrefix: 'p', modes: DEFAULT_MODES, form: 'debezium' },
      catalogue: () => new Map([['public.t', { ...textTable('t', ['id', 'v']), since }]]),
      isGone: () => isGone,
    });
  const of = (lsn: number): LogRecord => {
    const source = { connector: 'postgresql', name: 'p', schema: 'public', table: 't', lsn };
    const transaction = { id: '7:1', total_order: 1, data_collection_order: 1 };
    const after = { id: '1', v: 'x' };
    const value = Buffer.from(
      JSON.stringify({ op: 'c', source, before: null, after, transaction }),
    );
    return { ...record('p.public.t', '{"id":"1"}'), value };
  };
  expect(make(true).decode(of(60))).toMatchObject({ kind: 'change', table: { name: 't' } });
  expect(make(true).decode(of(40))).toMatchObject({
    ...{ kind: 'ignored', passedOver: { transaction: '7', collection: 'public.t' } },
  });
  expect(() => make(false).decode(of(40))).toThrow('a table of before');
});
