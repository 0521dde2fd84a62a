/**
 * A decoder that knows its topics well reads changes by templates (src/decode/envelope/change-text);
 * one that sees its first record parses it whole. Whatever the bytes are, both must say the same:
 * the same event, or the same error.
 */
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { LogRecord } from '../../src/change/record.ts';
import type { Decoder } from '../../src/decode/decoder.ts';
import { ChangeTexts } from '../../src/decode/envelope/change-text.ts';
import { isUnderstudyError } from '../../src/errors/understudy-error.ts';
import {
  captureDecoder,
  capturedCatalogue,
  capturedRecords,
  DEFAULT_MODES,
} from '../support/debezium-records.ts';

interface Seeds {
  readonly name: string;
  readonly records: readonly LogRecord[];
  readonly decoder: () => Decoder;
}

const PAYLOAD = ',"payload":';

function take(capture: string, topics: RegExp, schemas: boolean): readonly LogRecord[] {
  return [...capturedRecords(capture)]
    .filter(({ topic, value }) => topics.test(topic) && value !== null && value.length < 20_000)
    .map((record) => {
      if (schemas || record.value === null) return record;
      const text = record.value.toString('utf8');
      const value = text.slice(text.indexOf(PAYLOAD) + PAYLOAD.length, -1);
      return { ...record, value: Buffer.from(value) };
    });
}

const BEHAVIOUR = capturedCatalogue('behaviour');
const TYPES = capturedCatalogue('types');
const MYSQL = capturedCatalogue('mysql');

const SEEDS: readonly Seeds[] = [
  ...[true, false].map((schemas) => ({
    name: `PostgreSQL's changes ${schemas ? 'with' : 'without'} schema`,
    records: take('pg.behaviour.default', /cpk|pku|tx\d|del_/, schemas),
    decoder: () => captureDecoder('obs_beh', BEHAVIOUR),
  })),
  {
    name: 'rows of every type',
    records: take('pg.types.default', /t_/, true),
    decoder: () => captureDecoder('obs_pg', TYPES),
  },
  {
    name: "MySQL's changes",
    records: take('mysql.types.default', /\./, true),
    decoder: () => captureDecoder('obs_my', MYSQL, DEFAULT_MODES, null, 'debezium', 'mysql'),
  },
];

/** What a decoder makes of a record, as one comparable thing. */
function outcome(decoder: Decoder, record: LogRecord): unknown {
  try {
    return decoder.decode(record);
  } catch (error) {
    if (!isUnderstudyError(error)) throw error;
    return { code: error.code, message: error.message, context: error.context };
  }
}

/** Values in place of others, fields before others: what JSON allows and a connector never writes. */
const VALUES = [
  ...['-0', '0', '00', '1e3', '1E+400', '-1', '1.0', '12345678901234567890', '0.1e-7'],
  ...['9007199254740993', '1795235615666057000', '007', 'null', 'true', '{}', '[]', '[[1]]'],
  ...['""', '"__debezium_unavailable_value"', '"\\u0041"', '"\\u0000"', '"\\""', '"\\\\"', '"d"'],
  ...[
    '"\\ud83d\\ude00"',
    '"😀"',
    '"é\ufffd"',
    '"a,\\"source\\":{\\"x\\":1}"',
    '"[\\"1\\",\\"2\\"]"',
  ],
  ...['{"source":{"a":1}}', '{"a":1,"source":{"op":"d"}}', '"\t"', '"[null,\\"7\\"]"'],
];
const FIELDS = [
  ...['"op":"d"', '"op":"u"', '"after":null', '"before":null', '"before":{"id":1}', '"source":{}'],
  ...['"lsn":1', '"txId":18446744073709551616', '"snapshot":"true"', '"ts_ms":5', '"id":7'],
  ...[
    '"sequence":null',
    '"transaction":null',
    '"x":{"y":[1,{"z":null}]}',
    '"__proto__":{"op":"d"}',
  ],
  ...['"schema":null', '"payload":null', '"total_order":9'],
];
const SPACES = [' ', '\n', '\t  ', ''];

type Change = (payload: string) => string;
const share = fc.double({ min: 0, max: 0.999_999, noNaN: true });

/** One of the places in a text where a pattern fits, or none. */
function placeOf(text: string, pattern: RegExp, where: number): RegExpExecArray | null {
  const places = [...text.matchAll(pattern)];
  return places[Math.floor(where * places.length)] ?? null;
}

/** Mostly behind the rows, where the templates are. */
const value: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom(...VALUES),
  fc.string({ unit: 'binary' }).map((text) => JSON.stringify(text)),
  fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }).map(String),
  fc.double().map((number) => JSON.stringify(number)),
);
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.tuple(share, value).map(([where, text]): Change => (payload) => {
    const place = placeOf(payload, /(?<=":)(?:"(?:[^"\\]|\\.)*"|[-\w.+]+)/g, where);
    if (place === null) return payload;
    return payload.slice(0, place.index) + text + payload.slice(place.index + place[0].length);
  }),
  fc.tuple(share, fc.constantFrom(...FIELDS), fc.boolean()).map(([where, field, first]): Change => {
    return (payload) => {
      const place = placeOf(payload, first ? /\{(?=")/g : /(?<=[^{])\}/g, where);
      if (place === null) return payload;
      const at = place.index + (first ? 1 : 0);
      return payload.slice(0, at) + (first ? `${field},` : `,${field}`) + payload.slice(at);
    };
  }),
  fc.tuple(share, fc.constantFrom(...SPACES)).map(([where, space]): Change => (payload) => {
    const place = placeOf(payload, /[,:{}[\]]/g, where);
    const at = (place?.index ?? 0) + 1;
    return payload.slice(0, at) + space + payload.slice(at);
  }),
  // A field goes to the end.
  share.map((where): Change => (payload) => {
    const place = placeOf(payload, /"\w+":(?:"(?:[^"\\]|\\.)*"|[-\w.+]+),/g, where);
    if (place === null) return payload;
    const rest = payload.slice(0, place.index) + payload.slice(place.index + place[0].length);
    return `${rest.slice(0, -1)},${place[0].slice(0, -1)}}`;
  }),
  fc.tuple(share, fc.nat(6)).map(([where, gone]): Change => (payload) => {
    const at = Math.floor(where * payload.length);
    return payload.slice(0, at) + payload.slice(at + gone);
  }),
);

/** The payload's part of a record changed. */
function changed(
  record: LogRecord,
  changes: readonly Change[],
): { readonly record: LogRecord; readonly payload: string } {
  const text = record.value?.toString('utf8') ?? '';
  const start = text.indexOf(PAYLOAD);
  const from = start < 0 ? 0 : start + PAYLOAD.length;
  const to = start < 0 ? text.length : text.length - 1;
  const payload = changes.reduce((now, act) => act(now), text.slice(from, to));
  const value = Buffer.from(text.slice(0, from) + payload + text.slice(to));
  return { record: { ...record, value }, payload };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

describe.each(SEEDS)('$name', ({ records, decoder }) => {
  test('are read alike with and without templates', () => {
    const used = decoder();
    const afresh = (record: LogRecord): unknown => outcome(decoder(), record);
    expect(records.length).toBeGreaterThan(30);
    for (let pass = 0; pass < 3; pass += 1) {
      for (const record of records) expect(outcome(used, record)).toEqual(afresh(record));
    }
    const ends = { change: 0, error: 0 };
    fc.assert(
      fc.property(
        fc.constantFrom(...records),
        fc.array(change, { minLength: 1, maxLength: 3 }),
        (seed, changes) => {
          const { record, payload } = changed(seed, changes);
          const expected = afresh(record);
          // Each is a neighbour of real changes, from which templates are learned again.
          expect(outcome(used, seed)).toEqual(afresh(seed));
          const said = outcome(used, record);
          // As a part of the whole it may be more fields beside `payload`, which nobody sends.
          const broken = !isJson(payload) && (said as { code?: string }).code === 'RECORD_CORRUPT';
          expect(broken || isDeepStrictEqual(said, expected), payload).toBe(true);
          ends[(expected as { kind?: string }).kind === 'change' ? 'change' : 'error'] += 1;
        },
      ),
      { numRuns: 400 },
    );
    // Both happen, or nothing was compared.
    expect(ends.change).toBeGreaterThan(50);
    expect(ends.error).toBeGreaterThan(50);
  });
});

test('of a change that fits a template, only the rows are parsed', () => {
  const texts = new ChangeTexts();
  const parsed: string[] = [];
  const parse = (text: string): unknown => {
    parsed.push(text);
    return JSON.parse(text);
  };
  const [first = '', second = ''] = [7, 8].map(
    (lsn) =>
      `{"before":null,"after":{"id":${lsn}},"source":{"name":"p","lsn":${lsn},"ts_us":1},` +
      String.raw`"transaction":{"id":"5:${lsn}","total_order":1},"op":"c","ts_ms":12}`,
  );
  texts.read(first, parse);
  expect(texts.read(second, parse)).toEqual({
    before: null,
    after: { id: 8 },
    source: { name: 'p', lsn: 8 },
    transaction: { id: '5:8', total_order: 1 },
    op: 'c',
  });
  expect(parsed).toEqual([first, '{"id":8}']);
});

test('what is no number of JSON fits no template', () => {
  const texts = new ChangeTexts();
  const text = (lsn: string): string =>
    `{"before":null,"after":{},"source":{"lsn":${lsn}},"transaction":null,"op":"c"}`;
  texts.read(text('7'), JSON.parse);
  for (const lsn of ['007', '00', '', '-', '1e', '1.', '0x1']) {
    expect(() => texts.read(text(lsn), JSON.parse)).toThrow(SyntaxError);
  }
});
