import pg from 'pg';
import { expect, test } from 'vitest';
import { runPlan } from '../../src/dialect/postgres/schema/apply-plan.ts';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import { planFromEvents } from '../../src/dialect/postgres/schema/plan-from-events.ts';
import type { EventColumn, EventTableSchema } from '../../src/schema/event-schema.ts';
import { testDatabase } from '../support/test-database.ts';

function column(name: string, connectType: string, more: Partial<EventColumn> = {}): EventColumn {
  return {
    name,
    connectType,
    semanticName: null,
    parameters: {},
    element: null,
    optional: true,
    ...more,
  };
}

const ORDERS: EventTableSchema = {
  table: { schema: 'Shop "x"', name: 'orders.all' },
  key: ['id', 'part'],
  sourceName: 'io.debezium.connector.postgresql.Source',
  columns: [
    column('part', 'string', { optional: false }),
    column('id', 'int64', { optional: false }),
    column('price', 'bytes', {
      semanticName: 'org.apache.kafka.connect.data.Decimal',
      parameters: { scale: '2', 'connect.decimal.precision': '10' },
    }),
    column('tags', 'array', { element: column('', 'string') }),
    column('attrs', 'map'),
    column('bits', 'bytes', { semanticName: 'io.debezium.data.Bits', parameters: { length: '3' } }),
  ],
};
const LOG: EventTableSchema = {
  ...ORDERS,
  table: { schema: 'public', name: 'log' },
  key: [],
  columns: [column('line', 'string')],
};

test('tables are made as their events describe them', async () => {
  const { url } = await testDatabase('events');
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const plan = planFromEvents([ORDERS, LOG]);
    expect((await runPlan(client, plan)).skipped).toEqual([]);
    const made = (await readCatalogue(client)).get('"Shop ""x"""."orders.all"');
    expect(made?.key).toEqual(['id', 'part']);
    const types = made?.columns.map(({ name, type, nullable }) => [name, type.sql, nullable]);
    expect(types).toEqual([
      ['part', 'text', false],
      ['id', 'bigint', false],
      ['price', 'numeric(10,2)', true],
      ['tags', 'text[]', true],
      ['attrs', expect.stringContaining('hstore'), true],
      ['bits', 'bit varying(3)', true],
    ]);
    expect(plan.notCarried.map(({ what }) => what)).toContain('key of table public.log');
    expect(plan.tables).toEqual([ORDERS.table, LOG.table]);
  } finally {
    await client.end();
  }
});

test('a type without a safe counterpart is named with table and column', () => {
  const odd = { ...LOG, columns: [column('geo', 'struct', { semanticName: 'com.example.Geo' })] };
  expect(() => planFromEvents([odd])).toThrow(
    expect.objectContaining({
      code: 'TYPE_UNKNOWN',
      context: { table: 'public.log', column: 'geo' },
    }),
  );
});

test('a key that the rows do not have is refused', () => {
  expect(() => planFromEvents([{ ...LOG, key: ['id'] }])).toThrow(
    expect.objectContaining({ code: 'COLUMN_UNKNOWN' }),
  );
});
