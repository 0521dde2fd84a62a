import { describe, expect, test } from 'vitest';
import { AvroReader } from '../../../src/decode/envelope/avro.ts';
import { translateAvroSchema } from '../../../src/decode/envelope/avro-schema.ts';
import { Problem } from '../../../src/decode/problem.ts';

type Field = readonly [name: string, type: unknown];

function record(name: string, fields: readonly Field[], more: object = {}): object {
  return {
    type: 'record',
    name,
    namespace: 'n',
    fields: fields.map(([field, type]) => ({ name: field, type })),
    ...more,
  };
}

function open(schema: unknown, bytes: readonly number[]): unknown {
  return new AvroReader(schema).open(Buffer.from(bytes), 'native').payload;
}

const text = (value: string): readonly number[] => [value.length * 2, ...Buffer.from(value)];

describe('a registered schema', () => {
  test('gives Connect’s names, parameters and small integers', () => {
    const schema = record('r', [
      ['a', { type: 'int', 'connect.type': 'int16', 'connect.name': 'x.Y', 'connect.version': 1 }],
      ['b', ['null', { type: 'bytes', logicalType: 'decimal', scale: 5, precision: 3 }]],
      ['c', { type: 'array', items: ['null', 'long'] }],
      ['d', [{ type: 'string', 'connect.parameters': { allowed: 'a,b' } }, 'null']],
    ]);
    expect(translateAvroSchema(schema).connect).toEqual({
      type: 'struct',
      fields: [
        { field: 'a', type: 'int16', name: 'x.Y' },
        { field: 'b', type: 'bytes', optional: true },
        { field: 'c', type: 'array', items: { type: 'int64', optional: true } },
        { field: 'd', type: 'string', optional: true, parameters: { allowed: 'a,b' } },
      ],
    });
  });

  test('may name a type that it defined before, by short or full name', () => {
    const inner = record('inner', [['v', 'long']]);
    const outer = record('outer', [
      ['a', ['null', inner]],
      ['b', 'inner'],
      ['c', ['null', 'n.inner']],
    ]);
    expect(open(outer, [2, 2, 4, 2, 6])).toEqual({ a: { v: 1 }, b: { v: 2 }, c: { v: 3 } });
  });

  test('may have maps: an object for texts, pairs for other keys, no key lost', () => {
    expect(
      Object.entries(
        open({ type: 'map', values: 'int' }, [4, ...text('__proto__'), 2, ...text('b'), 4, 0]) ??
          {},
      ),
    ).toEqual([
      ['__proto__', 1],
      ['b', 2],
    ]);
    const entries = (key: unknown): object => ({
      type: 'array',
      items: {
        ...record('MapEntry', [
          ['key', key],
          ['value', 'double'],
        ]),
        namespace: 'io.confluent.connect.avro',
      },
    });
    const half = [0, 0, 0, 0, 0, 0, 0xe0, 0x3f];
    expect(open(entries('int'), [2, 6, ...half, 0])).toEqual([[3, 0.5]]);
    expect(open(entries('string'), [2, ...text('k'), ...half, 0])).toEqual({ k: 0.5 });
    expect(translateAvroSchema(entries('int')).connect).toEqual({ type: 'map' });
  });

  test('may have fields that no record of the reader could have', () => {
    const row = open(
      record('r', [
        ['cöl', 'int'],
        ['__proto__', 'int'],
        ['constructor', 'int'],
      ]),
      [2, 4, 6],
    );
    expect(new Map(Object.entries(row ?? {}))).toEqual(
      new Map([
        ['cöl', 1],
        ['__proto__', 2],
        ['constructor', 3],
      ]),
    );
  });

  test('may have enums and fixed bytes', () => {
    const schema = record('r', [
      ['e', { type: 'enum', name: 'e', symbols: ['A', 'B'] }],
      ['f', { type: 'fixed', name: 'f', size: 2 }],
      ['again', 'e'],
    ]);
    expect(open(schema, [2, 7, 8, 0])).toEqual({ e: 'B', f: Buffer.from([7, 8]), again: 'A' });
  });

  test.each([
    ['no type', { name: 'x' }],
    ['a name that is not defined', record('r', [['a', 'missing']])],
    ['a record that holds itself', record('r', [['a', ['null', 'r']]])],
    ['a union of two types', ['null', 'int', 'string']],
    ['no fields', { type: 'record', name: 'r' }],
    ['an enum without symbols', { type: 'enum', name: 'e', symbols: [] }],
    ['a number', 7],
  ])('is refused: %s', (_, schema) => {
    expect(() => new AvroReader(schema)).toThrow(Problem);
  });
});

describe('64-bit integers', () => {
  test.each([
    ['0', [0]],
    ['-1', [1]],
    ['9007199254740991', [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f]],
    ['9007199254740993', [0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20]],
    ['9223372036854775807', [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]],
    ['-9223372036854775808', [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]],
    ['-281474976710656', [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]],
  ])('%s is exact, and a number where that is', (digits, bytes) => {
    const value = open('long', bytes);
    expect(String(value)).toBe(digits);
    expect(typeof value).toBe(Number.isSafeInteger(Number(digits)) ? 'number' : 'bigint');
  });
});

test.each([
  ['trailing bytes', 'int', [2, 2]],
  ['cut off', 'string', [8, 65]],
  ['a branch that is not', ['null', 'int'], [8]],
  ['too long an integer', 'long', Array.from({ length: 12 }, () => 0x80)],
])('no datum: %s', (_, schema, bytes) => {
  expect(() => open(schema, bytes)).toThrow(
    expect.objectContaining({ code: 'RECORD_CORRUPT' }) as Error,
  );
});

test('no datum: more items than bytes, which is seen at once', () => {
  const started = performance.now();
  // 2^35 items, which the bytes left could not hold.
  const bytes = [0x80, 0x80, 0x80, 0x80, 0x80, 0x02, 0];
  expect(() => open({ type: 'array', items: 'int' }, bytes)).toThrow(
    expect.objectContaining({ code: 'RECORD_CORRUPT' }) as Error,
  );
  expect(performance.now() - started).toBeLessThan(100);
});
