import { describe, expect, test } from 'vitest';
import type { ChangeEvent, DecodedRecord, LogRecord } from '../../../../src/change/record.ts';
import { tableName } from '../../../../src/change/table-id.ts';
import { imageValue, UNAVAILABLE, UNSURE, type RowImage } from '../../../../src/change/value.ts';
import type { RecordForm } from '../../../../src/decode/forms/form.ts';
import type { ConnectorModes } from '../../../../src/decode/modes.ts';
import {
  isUnderstudyError,
  type UnderstudyError,
} from '../../../../src/errors/understudy-error.ts';
import { coalesce } from '../../../../src/order/coalesce.ts';
import {
  captureDecoder,
  capturedCatalogue,
  capturedRecords,
  DEFAULT_MODES,
} from '../../../support/debezium-records.ts';
import { FORMS_CATALOGUE, FORMS_ROWS } from '../../../support/form-captures.ts';

function decodeCapture(
  name: string,
  form: RecordForm,
  modes: ConnectorModes = DEFAULT_MODES,
): readonly DecodedRecord[] {
  const decoder = captureDecoder(
    `cap_${PREFIXES[name] ?? name}`,
    FORMS_CATALOGUE,
    modes,
    null,
    form,
  );
  return [...capturedRecords(`pg.forms.${name}`)].map((record) => decoder.decode(record));
}

const PREFIXES: Readonly<Record<string, string>> = {
  cloudevents: 'ceplain',
  'cloudevents-noschema': 'cenoschema',
  'flat-noschema': 'flatnoschema',
  'flat-added': 'flatall',
  'message-key': 'mkey',
};

function changesOf(records: readonly DecodedRecord[], table?: string): readonly ChangeEvent[] {
  return records
    .filter((record) => record.kind === 'change')
    .filter((change) => table === undefined || tableName(change.table) === `public.${table}`);
}

function row(image: RowImage | null): Readonly<Record<string, unknown>> | null {
  if (image === null) return null;
  return Object.fromEntries(image.shape.columns.map((name) => [name, imageValue(image, name)]));
}

/** What the changes leave behind, by the rules of coalescing, from an empty database. */
function rowsAfter(records: readonly DecodedRecord[]): Record<string, unknown[]> {
  const rows = new Map<string, Map<string, unknown>>();
  for (const name of Object.keys(FORMS_ROWS)) rows.set(name, new Map());
  const keyed = changesOf(records).filter((change) => change.table.name !== 'nokey');
  // One event a step: no merging hides what an event alone says.
  for (const change of keyed) {
    for (const step of coalesce([change], FORMS_CATALOGUE)) {
      const table = rows.get(tableName(step.table));
      if (step.kind === 'truncate') table?.clear();
      else if (step.kind !== 'rows') throw new Error('a table without key is not among them');
      else {
        for (const net of step.changes) {
          const key = JSON.stringify(net.key);
          if (net.kind === 'delete') table?.delete(key);
          else table?.set(key, row(net.image));
        }
      }
    }
  }
  return Object.fromEntries([...rows].map(([name, table]) => [name, [...table.values()]]));
}

function failure(act: () => unknown): UnderstudyError {
  try {
    act();
  } catch (error) {
    if (isUnderstudyError(error)) return error;
    throw error;
  }
  throw new Error('it did not fail');
}

describe('CloudEvents of a real connector', () => {
  test.each(['cloudevents', 'cloudevents-noschema'])('lead to production: %s', (name) => {
    const records = decodeCapture(name, 'cloudevents');
    expect(rowsAfter(records)).toEqual(FORMS_ROWS);
    const [first] = changesOf(records, 'item');
    expect(row(first?.after ?? null)).toEqual({
      id: '1',
      v: 'a',
      n: '1.10',
      big: '9007199254740993',
      b: Buffer.from([0, 255]),
    });
    expect(first).toMatchObject({ op: 'read', snapshot: 'initial', transaction: null });
    expect(first?.source).toMatchObject({ connector: 'postgresql', lastCommitLsn: null });
    expect(first?.eventTimeMs).toBeGreaterThan(1_700_000_000_000);
  });

  test('say truncates and key changes, and the old row where it is real', () => {
    const records = decodeCapture('cloudevents', 'cloudevents');
    expect(changesOf(records, 'item').map((change) => change.op)).toEqual([
      ...['read', 'read', 'update', 'delete', 'create', 'delete', 'create'],
      ...['truncate', 'create', 'delete', 'create', 'delete'],
    ]);
    const moved = changesOf(records, 'item').find((change) => change.oldKey !== null);
    expect([row(moved?.oldKey ?? null), row(moved?.key ?? null)]).toEqual([
      { id: '2' },
      { id: '20' },
    ]);
    const [, update, gone] = changesOf(records, 'nokey');
    expect(row(update?.before ?? null)).toEqual({ a: '1', v: 'n' });
    expect(gone).toMatchObject({ op: 'delete', key: null, after: null });
    expect(row(gone?.before ?? null)).toEqual({ a: '1', v: 'm' });
  });

  test('are null for what has no rows: heartbeats, boundaries, messages', () => {
    const others = decodeCapture('cloudevents', 'cloudevents').filter(
      (record) => record.kind !== 'change',
    );
    expect(new Set(others.map((record) => record.kind))).toEqual(new Set(['tombstone']));
    expect(others.filter((record) => record.at.topic.endsWith('.transaction'))).toHaveLength(8);
  });

  test('are refused as Debezium records, and the other way round, with the setting to change', () => {
    expect(failure(() => decodeCapture('cloudevents', 'debezium'))).toMatchObject({
      code: 'RECORD_UNKNOWN',
      message: expect.stringContaining('source.form') as string,
    });
    expect(failure(() => decodeCapture('message-key', 'cloudevents'))).toMatchObject({
      code: 'RECORD_UNKNOWN',
    });
  });

  test('without extension attributes are refused with the cure', () => {
    const value = Buffer.from('{"specversion":"1.0","id":"1","data":{"before":null,"after":{}}}');
    const decoder = captureDecoder('p', FORMS_CATALOGUE, DEFAULT_MODES, null, 'cloudevents');
    const record = { ...recordOf(value), topic: 'p.public.item' };
    expect(failure(() => decoder.decode(record)).message).toContain('extension.attributes.enable');
  });
});

function recordOf(value: Buffer | null, key: Buffer | null = null): LogRecord {
  return { topic: 't', partition: 0, offset: 0n, timestampMs: 0, headers: [], key, value };
}

describe('flattened rows of a real connector', () => {
  /** A truncate never comes: what it removed stays. */
  const NOT_TRUNCATED = {
    ...FORMS_ROWS,
    'public.item': [
      { id: '20', v: null, n: null, big: '5', b: null },
      { id: '3', v: 'c', n: '2.50', big: '1', b: null },
    ],
  };

  test('without schema: the table by the topic, deletes by null', () => {
    const records = decodeNullKeyed('flat-noschema');
    expect(rowsAfter(records.decoded)).toEqual(NOT_TRUNCATED);
    expect(changesOf(records.decoded, 'Od d')).toHaveLength(3);
    expect(records.decoded.filter(({ kind }) => kind === 'message')).toHaveLength(1);
    // The delete of a row without a key: null without a key. It cannot be told, nor passed over.
    expect(records.errors.map(({ code }) => code)).toEqual(['KEY_MISSING']);
  });

  function decodeNullKeyed(name: string): {
    readonly decoded: readonly DecodedRecord[];
    readonly errors: readonly UnderstudyError[];
  } {
    const prefix = `cap_${PREFIXES[name] ?? name}`;
    const decoder = captureDecoder(prefix, FORMS_CATALOGUE, DEFAULT_MODES, null, 'flat');
    const decoded: DecodedRecord[] = [];
    const errors: UnderstudyError[] = [];
    for (const record of capturedRecords(`pg.forms.${name}`)) {
      try {
        decoded.push(decoder.decode(record));
      } catch (error) {
        if (!isUnderstudyError(error)) throw error;
        errors.push(error);
      }
    }
    return { decoded, errors };
  }

  test('with added fields: position, time and operation, and no such columns', () => {
    const records = decodeCapture('flat-added', 'flat', { ...DEFAULT_MODES, deletes: 'rewrite' });
    // The transform itself turns NULL into the column's default where it rewrites (see limits.ts).
    const [moved, added] = NOT_TRUNCATED['public.item'];
    expect(rowsAfter(records)).toEqual({
      ...NOT_TRUNCATED,
      'public.item': [{ ...moved, v: 'dflt' }, added],
    });
    const update = changesOf(records, 'item').find(({ op }) => op === 'update');
    expect(row(update?.after ?? null)).toEqual({
      id: '1',
      v: 'b',
      n: '1.10',
      big: '9007199254740993',
      b: Buffer.from([0, 255]),
    });
    expect(update).toMatchObject({ transaction: null, snapshot: 'no' });
    expect(update?.source).toMatchObject({ connector: 'postgresql', txId: 779 });
    expect('lsn' in (update?.source ?? {}) && update?.eventTimeMs).toBeGreaterThan(1.7e12);
    // Rows without a key: the rewritten delete has the old row.
    const gone = changesOf(records, 'nokey').find(({ op }) => op === 'delete');
    expect([gone?.key, row(gone?.before ?? null)]).toEqual([null, { a: '1', v: 'm' }]);
    expect(records.filter(({ kind }) => kind === 'begin' || kind === 'end')).toEqual([]);
  });

  test('of a deleted row only the key is believed', () => {
    const records = decodeCapture('flat-added', 'flat', { ...DEFAULT_MODES, deletes: 'rewrite' });
    const deletes = changesOf(records, 'item').filter(({ op }) => op === 'delete');
    expect(deletes.map(({ before }) => before)).toEqual(deletes.map(() => null));
    expect(deletes.map(({ key }) => row(key))).toEqual([2, 1, 4, 5].map((id) => ({ id: `${id}` })));
  });

  test('without operation may be updates that lack a value; with it, or of a snapshot, they are whole', () => {
    const decoder = captureDecoder(
      'p',
      capturedCatalogue('behaviour'),
      DEFAULT_MODES,
      null,
      'flat',
    );
    const read = (added: object, headers: LogRecord['headers'] = []): readonly unknown[] => {
      const value = Buffer.from(JSON.stringify({ id: 1, v: null, other: 0, ...added }));
      const record = { ...recordOf(value, Buffer.from('{"id":1}')), headers };
      const decoded = decoder.decode({ ...record, topic: 'p.public.toast_numeric' });
      const [change] = changesOf([decoded]);
      return [change?.op, change?.snapshot, row(change?.after ?? null)?.['v']];
    };
    expect(read({})).toEqual(['update', 'no', UNSURE]);
    expect(read({ __op: 'c' })).toEqual(['create', 'no', null]);
    expect(read({}, [['__op', Buffer.from('c')]])).toEqual(['create', 'no', null]);
    expect(read({ __source_snapshot: 'true' })).toEqual(['read', 'initial', null]);
    expect(read({ __source_snapshot: 'incremental' })).toEqual(['read', 'incremental', null]);
    expect(read({ __source_snapshot: 'false' })).toEqual(['update', 'no', UNSURE]);
  });

  const CATALOGUE = capturedCatalogue('behaviour');
  const MODES = {
    drop: [
      { id: '1', v: 'b' },
      { id: '20', v: 'dflt' },
      { id: '3', v: 'c' },
    ],
    tombstone: [
      { id: '20', v: 'dflt' },
      { id: '3', v: 'c' },
    ],
    rewrite: [
      { id: '20', v: 'dflt' },
      { id: '3', v: 'c' },
    ],
    'rewrite-with-tombstone': [
      { id: '20', v: 'dflt' },
      { id: '3', v: 'c' },
    ],
    'delete-to-tombstone': [
      { id: '20', v: 'dflt' },
      { id: '3', v: 'c' },
    ],
  } as const;

  test.each(Object.entries(MODES))('deletes as %s', (mode, expected) => {
    const prefix = `obs_enr_${mode.replaceAll('-', '_')}`;
    const deletes = mode as keyof typeof MODES;
    const decoder = captureDecoder(prefix, CATALOGUE, { ...DEFAULT_MODES, deletes }, null, 'flat');
    const records = [...capturedRecords(`pg.flat.${mode}`)].map((record) => decoder.decode(record));
    const flat = changesOf(records, 'flat');
    const step = coalesce(flat, CATALOGUE)[0];
    const left = (step?.kind === 'rows' ? step.changes : [])
      .filter((net) => net.kind === 'upsert')
      .map(({ image }) => ({ id: imageValue(image, 'id'), v: imageValue(image, 'v') }));
    expect(left).toEqual(expect.arrayContaining([...expected]));
    expect(left).toHaveLength(expected.length);
    // The old key of a key change is gone in every mode, also where its delete is dropped.
    expect(left.map(({ id }) => id)).not.toContain('2');
  });

  test('of a tombstone that repeats a delete the row on its way to a new key is kept', () => {
    const deletes = 'tombstone';
    const prefix = 'obs_enr_rewrite_with_tombstone';
    const decoder = captureDecoder(prefix, CATALOGUE, { ...DEFAULT_MODES, deletes }, null, 'flat');
    const records = [...capturedRecords('pg.flat.rewrite-with-tombstone')].map((record) =>
      decoder.decode(record),
    );
    const moving = changesOf(records, 'flat').filter(
      ({ newKey, oldKey }) => newKey !== null || oldKey !== null,
    );
    expect(moving.map(({ op }) => op)).toEqual(['delete', 'delete', 'create']);
    const [, , create] = moving;
    const after = {
      ...create?.after,
      values: create?.after?.values.map((v, i) => (i === 1 ? UNAVAILABLE : v)),
    };
    const update = {
      ...moving[0],
      op: 'update',
      newKey: null,
      key: moving[0]?.key,
      after: changesOf(records, 'flat')[1]?.after,
    };
    const stretch = [update, ...moving.slice(0, 2), { ...create, after }] as ChangeEvent[];
    const [step] = coalesce(stretch, CATALOGUE);
    const net = step?.kind === 'rows' ? step.changes.find(({ kind }) => kind === 'upsert') : null;
    expect(net?.kind === 'upsert' && imageValue(net.image, 'v')).toBe('dflt');
  });
});

describe('routed records of a real connector', () => {
  test('are of the table that their source names; what the router adds to keys is no column', () => {
    const records = decodeCapture('router', 'debezium');
    expect(rowsAfter(records)).toEqual(FORMS_ROWS);
    const moved = changesOf(records, 'pair').find((change) => change.oldKey !== null);
    expect([row(moved?.oldKey ?? null), row(moved?.key ?? null)]).toEqual([
      { b: '1', a: '2' },
      { b: '5', a: '2' },
    ]);
  });
});

describe('keys of message.key.columns', () => {
  const records = decodeCapture('message-key', 'debezium');

  test('are not those of the rows: production is reached all the same', () => {
    expect(rowsAfter(records)).toEqual(FORMS_ROWS);
    const keys = changesOf(records, 'item').map(({ key }) => key?.shape.columns ?? null);
    expect(keys.filter((columns) => columns !== null && columns.join() !== 'id')).toEqual([]);
  });

  test('an update with another primary key before it is one key change', () => {
    const [moved] = changesOf(records, 'item').filter(({ oldKey }) => oldKey !== null);
    expect([moved?.op, row(moved?.oldKey ?? null), row(moved?.key ?? null)]).toEqual([
      'update',
      { id: '2' },
      { id: '20' },
    ]);
    // What stands beside the old key is filled up, not real.
    expect(moved?.before).toBeNull();
  });

  test('rows without a key keep their old rows', () => {
    const [, update, gone] = changesOf(records, 'nokey');
    expect([update?.key, row(update?.before ?? null)]).toEqual([null, { a: '1', v: 'n' }]);
    expect([gone?.key, row(gone?.before ?? null)]).toEqual([null, { a: '1', v: 'm' }]);
  });
});
