import { expect, test } from 'vitest';
import { eventTableSchema } from '../../../src/schema/event-schema.ts';

const table = { schema: 'public', name: 'orders' };
const sourceName = 'io.debezium.connector.postgresql.Source';
const row = {
  type: 'struct',
  optional: true,
  name: 'p.public.orders.Value',
  fields: [
    { type: 'int32', field: 'id' },
    {
      type: 'bytes',
      optional: true,
      field: 'price',
      name: 'org.apache.kafka.connect.data.Decimal',
      parameters: { scale: '2', 'connect.decimal.precision': '10' },
    },
    {
      type: 'array',
      items: { type: 'string', optional: true, name: 'io.debezium.data.Uuid' },
      optional: true,
      field: 'tags',
    },
  ],
} as const;
const key = { type: 'struct', fields: [{ type: 'int32', field: 'id' }] };
const same = (field: string): string => field;

test('a row’s schema tells columns, types and key', () => {
  expect(eventTableSchema({ table, row, key, sourceName, columnOf: same })).toEqual({
    table,
    key: ['id'],
    sourceName,
    columns: [
      {
        name: 'id',
        optional: false,
        connectType: 'int32',
        semanticName: null,
        parameters: {},
        element: null,
      },
      {
        name: 'price',
        optional: true,
        connectType: 'bytes',
        semanticName: 'org.apache.kafka.connect.data.Decimal',
        parameters: { scale: '2', 'connect.decimal.precision': '10' },
        element: null,
      },
      {
        name: 'tags',
        optional: true,
        connectType: 'array',
        semanticName: null,
        parameters: {},
        element: {
          connectType: 'string',
          semanticName: 'io.debezium.data.Uuid',
          parameters: {},
          element: null,
        },
      },
    ],
  });
});

test('a table without a key has an empty one', () => {
  const told = eventTableSchema({ table, row, key: null, sourceName, columnOf: same });
  expect(told.key).toEqual([]);
});

test('what a transform added is no column, and not of the key', () => {
  const fields = [...key.fields, { type: 'string', field: '__dbz__physicalTableIdentifier' }];
  const columnOf = (field: string): string | null =>
    field === 'tags' ? null : field === 'id' ? 'ID' : field;
  const told = eventTableSchema({ table, row, key: { ...key, fields }, sourceName, columnOf });
  expect(told.columns.map(({ name }) => name)).toEqual(['ID', 'price']);
  expect(told.key).toEqual(['ID']);
});

test('a row without fields is refused', () => {
  const act = (): unknown =>
    eventTableSchema({ table, row: { type: 'string' }, key, sourceName, columnOf: same });
  expect(act).toThrow(
    expect.objectContaining({ code: 'RECORD_UNKNOWN', context: { table: 'public.orders' } }),
  );
});
