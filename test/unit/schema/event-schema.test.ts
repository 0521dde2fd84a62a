import { expect, test } from 'vitest';
import { eventTableSchema } from '../../../src/schema/event-schema.ts';

const table = { schema: 'public', name: 'orders' };
const row = (field: string): unknown => ({
  type: 'struct',
  optional: true,
  field,
  name: 'p.public.orders.Value',
  fields: [
    { type: 'int32', optional: false, field: 'id' },
    {
      type: 'bytes',
      optional: true,
      field: 'price',
      name: 'org.apache.kafka.connect.data.Decimal',
      version: 1,
      parameters: { scale: '2', 'connect.decimal.precision': '10' },
    },
    {
      type: 'array',
      items: { type: 'string', optional: true, name: 'io.debezium.data.Uuid', version: 1 },
      optional: true,
      field: 'tags',
    },
  ],
});
const envelope = {
  type: 'struct',
  name: 'p.public.orders.Envelope',
  fields: [
    row('before'),
    row('after'),
    {
      type: 'struct',
      field: 'source',
      name: 'io.debezium.connector.postgresql.Source',
      fields: [],
    },
    { type: 'string', field: 'op', optional: false },
  ],
};
const key = { type: 'struct', fields: [{ type: 'int32', field: 'id', optional: false }] };

test('an envelope’s schema tells columns, types and key', () => {
  expect(eventTableSchema(table, envelope, key)).toEqual({
    table,
    key: ['id'],
    sourceName: 'io.debezium.connector.postgresql.Source',
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
  expect(eventTableSchema(table, envelope, null).key).toEqual([]);
});

test.each([null, 'text', [], {}, { fields: [] }, { fields: [{ field: 'after' }] }])(
  'what is no change event is refused: %j',
  (schema) => {
    expect(() => eventTableSchema(table, schema, key)).toThrow(
      expect.objectContaining({ code: 'RECORD_UNKNOWN', context: { table: 'public.orders' } }),
    );
  },
);

test('a field without name or type is refused', () => {
  const broken = (field: unknown): unknown => ({
    fields: [{ field: 'after', fields: [field] }],
  });
  expect(() => eventTableSchema(table, broken({ field: 'a' }), null)).toThrow('without a type');
  expect(() => eventTableSchema(table, broken({ type: 'int32' }), null)).toThrow('without a name');
});
