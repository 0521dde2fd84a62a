import { describe, expect, test } from 'vitest';
import { eventColumnType } from '../../../../src/dialect/postgres/schema/event-column-type.ts';
import type { EventType } from '../../../../src/schema/event-schema.ts';

const POSTGRES = 'io.debezium.connector.postgresql.Source';
const MYSQL = 'io.debezium.connector.mysql.Source';
const DECIMAL = 'org.apache.kafka.connect.data.Decimal';
const BITS = 'io.debezium.data.Bits';

function typed(
  connectType: string,
  semanticName: string | null = null,
  parameters: Record<string, string> = {},
  element: EventType | null = null,
): EventType {
  return { connectType, semanticName, parameters, element };
}

function propagated(connectType: string, type: string, length: string, scale = '0'): EventType {
  return typed(connectType, null, {
    '__debezium.source.column.type': type,
    '__debezium.source.column.length': length,
    '__debezium.source.column.scale': scale,
  });
}

describe('the column type for a record’s type', () => {
  test.each([
    [typed('int16'), 'smallint'],
    [typed('double'), 'double precision'],
    [typed('string'), 'text'],
    [typed('bytes'), 'bytea'],
    [typed('map'), 'public.hstore'],
    [typed('bytes', DECIMAL, { scale: '2', 'connect.decimal.precision': '10' }), 'numeric(10,2)'],
    [typed('bytes', DECIMAL, { scale: '2046', 'connect.decimal.precision': '5' }), 'numeric(5,-2)'],
    [typed('bytes', DECIMAL, { scale: '5', 'connect.decimal.precision': '3' }), 'numeric(3,5)'],
    [typed('bytes', DECIMAL, { scale: '2' }), 'numeric'],
    [typed('struct', 'io.debezium.data.VariableScaleDecimal'), 'numeric'],
    [typed('bytes', BITS, { length: '12' }), 'bit varying(12)'],
    [typed('bytes', BITS, { length: '2147483647' }), 'bit varying'],
    [typed('string', 'io.debezium.data.Enum', { allowed: 'a,b' }), 'text'],
    [typed('int64', 'io.debezium.time.MicroTimestamp'), 'timestamp'],
    [typed('string', 'io.debezium.time.ZonedTimestamp'), 'timestamptz'],
    [typed('array', null, {}, typed('string', 'io.debezium.data.Uuid')), 'uuid[]'],
    [
      typed(
        'array',
        null,
        {},
        typed('bytes', DECIMAL, { scale: '2', 'connect.decimal.precision': '8' }),
      ),
      'numeric(8,2)[]',
    ],
    [propagated('string', 'VARCHAR', '20'), 'varchar(20)'],
    [propagated('string', 'VARCHAR', '2147483647'), 'varchar'],
    [propagated('string', 'BPCHAR', '5'), 'bpchar(5)'],
    [propagated('string', 'INET', '2147483647'), 'inet'],
    [propagated('string', 'NUMERIC', '10', '2'), 'numeric(10,2)'],
    [propagated('string', 'NUMERIC', '131089'), 'numeric'],
    [propagated('int64', 'TIMESTAMP', '26', '3'), 'timestamp(3)'],
    [propagated('array', '_INT4', '10'), 'int4[]'],
    [propagated('string', 'MY_OWN', '10'), 'text'],
  ])('%# of a PostgreSQL source: %j', (type, expected) => {
    expect(eventColumnType(type, POSTGRES)).toBe(expected);
  });

  test.each([
    [typed('bytes', BITS, { length: '12' }), 'bit(12)'],
    [typed('int64', 'io.debezium.time.MicroTime'), 'interval'],
    [typed('int32', 'io.debezium.time.Year'), 'integer'],
    [typed('struct', 'io.debezium.data.geometry.Point'), null],
    [propagated('string', 'VARCHAR', '20'), 'text'],
  ])('%# of a MySQL source: %j', (type, expected) => {
    expect(eventColumnType(type, MYSQL)).toBe(expected);
  });

  test.each([
    typed('struct'),
    typed('struct', 'com.example.Own'),
    typed('array'),
    typed('array', null, {}, typed('array', null, {}, typed('string'))),
    typed('struct', 'io.debezium.data.geometry.Geometry'),
  ])('is not guessed: %j', (type) => {
    expect(eventColumnType(type, POSTGRES)).toBeNull();
  });
});
