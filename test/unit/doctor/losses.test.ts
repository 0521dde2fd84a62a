import { expect, it } from 'vitest';
import type { ConnectorModes } from '../../../src/decode/modes.ts';
import { diagnoseLosses, lossyColumns } from '../../../src/doctor/losses.ts';
import type { ColumnType, SchemaCatalogue } from '../../../src/schema/table-schema.ts';

const column = (name: string, type: ColumnType) => ({
  ...{ name, type, nullable: true, toastable: false },
  generated: 'no' as const,
  identity: 'no' as const,
});
const id = { schema: 'public', name: 't' };
const CATALOGUE: SchemaCatalogue = new Map([
  [
    'public.t',
    {
      ...{ id, key: ['id'], uniques: [], foreignKeys: [], partitioned: false },
      columns: [
        column('id', { sql: 'integer', kind: 'int32' }),
        column('price', { sql: 'numeric(10,2)', kind: 'numeric', precision: 10, scale: 2 }),
        column('at', { sql: 'timestamp(6) without time zone', kind: 'timestamp', precision: 6 }),
        column('span', { sql: 'interval', kind: 'interval' }),
      ],
    },
  ],
]);

const MONEY: ColumnType = { sql: 'money', kind: 'money' };
const VARBIT: ColumnType = { sql: 'bit varying', kind: 'bits' };
const OMITTED: SchemaCatalogue = new Map([
  [
    'public.t',
    {
      ...{ id, key: ['id'], uniques: [], foreignKeys: [], partitioned: false },
      columns: [
        column('shape', { sql: 'box', kind: 'other' }),
        column('fees', { sql: 'money[]', kind: 'array', element: MONEY }),
        column('price', { sql: 'numeric', kind: 'numeric' }),
      ],
    },
  ],
]);

function cured(modes: ConnectorModes): readonly (readonly [string, string])[] {
  return lossyColumns({ connector: 'postgresql', modes }, CATALOGUE, () => true, null).flatMap(
    ({ column: name, setting }) => (setting === null ? [] : [[name, setting] as const]),
  );
}

it('names the columns that suffer from a mode, with the setting', () => {
  const lossy = cured({ time: 'connect', decimal: 'double', interval: 'numeric' });
  expect(lossy).toContainEqual(['at', 'time.precision.mode=connect']);
  expect(lossy).toContainEqual(['price', 'decimal.handling.mode=double']);
  expect(lossy).toContainEqual(['span', 'interval.handling.mode=numeric']);
});

it('names none under the modes that init writes', () => {
  expect(cured({ time: 'adaptive', decimal: 'string', interval: 'string' })).toEqual([]);
});

it('passes over tables that are not followed, and modes that are not known', () => {
  const source = { connector: 'postgresql', modes: { time: 'connect' } } as const;
  expect(lossyColumns(source, CATALOGUE, () => false, null)).toEqual([]);
  expect(cured({})).toEqual([]);
});

it('names the columns that the connector never sends', () => {
  const source = { connector: 'postgresql', modes: { decimal: 'double' } } as const;
  const unsent = (settings: Readonly<Record<string, string>>): readonly unknown[] =>
    lossyColumns(source, OMITTED, () => true, new Map(Object.entries(settings))).map(
      ({ column: name, id }) => [name, id],
    );
  const never = ['fees', 'arrays-omitted'];
  expect(unsent({})).toEqual([['shape', 'columns-omitted'], never, ['price', 'decimal-double']]);
  const included = { 'include.unknown.datatypes': 'true' };
  expect(unsent(included)).toEqual([never, ['price', 'decimal-double']]);
  const lists = { ...included, 'column.exclude.list': String.raw`public\.T\.pri.*` };
  expect(unsent(lists)).toEqual([never, ['price', 'column-excluded']]);
});

it('names the columns whose years the connector moves, where it does', () => {
  const source = { connector: 'mysql', modes: { time: 'adaptive_time_microseconds' } } as const;
  const [table] = CATALOGUE.values();
  const columns = [
    column('day', { sql: 'date', kind: 'date' }),
    column('at', { sql: 'timestamp', kind: 'timestamptz' }),
  ];
  const catalogue: SchemaCatalogue = table
    ? new Map([['public.t', { ...table, columns }]])
    : CATALOGUE;
  const moved = (adjuster: Readonly<Record<string, string>>): readonly string[] => {
    const reader = { 'connector.class': 'io.debezium.connector.mysql.MySqlConnector' };
    const settings = new Map(Object.entries({ ...reader, ...adjuster }));
    return lossyColumns(source, catalogue, () => true, settings)
      .filter(({ id }) => id === 'time-adjuster')
      .map(({ column: name }) => name);
  };
  expect(moved({})).toEqual(['day']);
  expect(moved({ 'enable.time.adjuster': 'false' })).toEqual([]);
});

it('names columns whose form in the binlog’s DDL only a schema would tell', () => {
  const source = {
    connector: 'mysql',
    modes: { binary: 'bytes', time: 'adaptive_time_microseconds' },
  } as const;
  const columns = [
    column('ratio', { sql: 'float', kind: 'float32' }),
    column('digits', { sql: 'float(7,3)', kind: 'float32' }),
    column('real', { sql: 'double', kind: 'float64' }),
    column('id', { sql: 'binary(16)', kind: 'bytes', length: 16 }),
    column('data', { sql: 'varbinary(16)', kind: 'bytes', length: 16 }),
  ];
  const [table] = CATALOGUE.values();
  const catalogue: SchemaCatalogue = table
    ? new Map([['public.t', { ...table, columns }]])
    : CATALOGUE;
  const untold = (enable: string): readonly string[] => {
    const settings = new Map([
      ['value.converter', 'org.apache.kafka.connect.json.JsonConverter'],
      ['value.converter.schemas.enable', enable],
    ]);
    return lossyColumns(source, catalogue, () => true, settings)
      .filter(({ setting }) => setting === 'value.converter.schemas.enable=false')
      .map(({ column: name, id: loss }) => `${name} ${loss}`);
  };
  expect(untold('true')).toEqual([]);
  expect(untold('false')).toEqual([
    ...['ratio float4-untold', 'real real-as-float-untold', 'id char-binary-untold'],
  ]);
});

it('makes one finding of a loss and its columns', () => {
  const source = { connector: 'postgresql', modes: { decimal: 'double' } } as const;
  const found = diagnoseLosses(lossyColumns(source, CATALOGUE, () => true, null));
  const double = found.find(({ level }) => level === 'warning');
  expect(double?.message).toContain('public.t.price');
  expect(double?.cure).not.toBe('');
});

const STOPPING: SchemaCatalogue = new Map([
  [
    'public.t',
    {
      ...{ id, key: ['id'], uniques: [], foreignKeys: [], partitioned: false },
      columns: [
        column('flags', { sql: 'bit varying(8)', kind: 'bits', length: 8 }),
        column('small', { sql: 'public.sparsevec(32767)', kind: 'vector' }),
        column('wide', { sql: 'public.sparsevec(32768)', kind: 'vector' }),
        column('open', { sql: 'public.sparsevec', kind: 'vector' }),
        column('none', { sql: 'bit varying[]', kind: 'array', element: VARBIT }),
        column('at', { sql: 'timestamp(6) without time zone', kind: 'timestamp', precision: 6 }),
      ],
    },
  ],
]);

it('makes an error of a column that stops the connector or the follower', () => {
  const source = { connector: 'postgresql', modes: { time: 'adaptive' } } as const;
  const settings = new Map([['include.unknown.datatypes', 'true']]);
  for (const known of [settings, null]) {
    const found = diagnoseLosses(lossyColumns(source, STOPPING, () => true, known));
    const errors = found.filter(({ level }) => level === 'error');
    expect(errors.map(({ id: loss, message }) => [loss, message.split(': ').at(-1)])).toEqual([
      ['column.varbit-length', 'public.t.flags'],
      ['column.sparsevec-size', 'public.t.wide, public.t.open'],
    ]);
  }
});

it('names the columns whose NULL is sent as their default', () => {
  const columns = [
    { ...column('stock', { sql: 'integer', kind: 'int32' }), hasDefault: true as const },
    {
      ...column('id', { sql: 'integer', kind: 'int32' }),
      hasDefault: true as const,
      nullable: false,
    },
    column('plain', { sql: 'integer', kind: 'int32' }),
  ];
  const table = { id, key: ['id'], uniques: [], foreignKeys: [], partitioned: false, columns };
  const converter = 'org.apache.kafka.connect.json.JsonConverter';
  const named = (settings: Readonly<Record<string, string>>): readonly unknown[] =>
    lossyColumns(
      { connector: 'postgresql', modes: {} },
      new Map([['public.t', table]]),
      () => true,
      new Map(Object.entries({ 'value.converter': converter, ...settings })),
    ).map(({ column: name, id: loss }) => [name, loss]);
  expect(named({})).toEqual([['stock', 'default-for-null']]);
  expect(named({ 'value.converter.replace.null.with.default': 'false' })).toEqual([]);
});

it('names the columns whose character set the connector decodes by another', () => {
  const columns = ['cp932', 'euckr', 'hp8', 'latin1', 'koi8u'].map((charset) =>
    column(charset, { sql: 'varchar(9)', kind: 'text', charset }),
  );
  const table = { id, key: [], uniques: [], foreignKeys: [], partitioned: false, columns };
  const named = (connector: 'mysql' | 'mariadb'): readonly unknown[] =>
    diagnoseLosses(
      lossyColumns({ connector, modes: {} }, new Map([['public.t', table]]), () => true, null),
    ).map(({ id: loss, level, message }) => [loss, level, message.split(': ').at(-1)]);
  const either = [
    ['column.charset-lacks', 'error', 'public.t.euckr'],
    ['column.charset-confused', 'ok', 'public.t.hp8'],
  ];
  const twice = ['column.charset-twice', 'ok', 'public.t.cp932'];
  expect(named('mysql')).toEqual([twice, ...either]);
  expect(named('mariadb')).toEqual([
    ['column.charset-misread', 'error', 'public.t.cp932'],
    twice,
    ...either,
  ]);
});
