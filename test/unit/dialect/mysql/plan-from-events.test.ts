import { describe, expect, it } from 'vitest';
import { planFromEvents } from '../../../../src/dialect/mysql/schema/plan-from-events.ts';
import type { EventColumn, EventTableSchema } from '../../../../src/schema/event-schema.ts';

function column(
  name: string,
  connectType: string,
  semanticName: string | null = null,
  parameters: Readonly<Record<string, string>> = {},
): EventColumn {
  return { name, connectType, semanticName, parameters, element: null, optional: true };
}

function table(
  columns: readonly EventColumn[],
  more: Partial<EventTableSchema> = {},
): EventTableSchema {
  return {
    table: { schema: 'shop', name: 'orders' },
    key: [],
    columns,
    sourceName: 'io.debezium.connector.mysql.Source',
    ...more,
  };
}

const sqlOf = (schema: EventTableSchema): string | undefined =>
  planFromEvents([schema]).statements[0]?.sql;

describe('a plan from events', () => {
  it('makes columns that surely hold every value, and the key of what an index takes', () => {
    const schema = table(
      [
        { ...column('id', 'string'), optional: false },
        column('n', 'int32'),
        column('d', 'bytes', 'org.apache.kafka.connect.data.Decimal', {
          scale: '2',
          'connect.decimal.precision': '10',
        }),
        column('at', 'string', 'io.debezium.time.ZonedTimestamp'),
        column('doc', 'string', 'io.debezium.data.Json'),
        column('state', 'string', 'io.debezium.data.Enum', { allowed: 'a,b' }),
        column('b', 'bytes'),
      ],
      { key: ['id'] },
    );
    const text = 'CHARACTER SET utf8mb4 COLLATE utf8mb4_bin';
    expect(sqlOf(schema)).toBe(
      [
        'CREATE TABLE `orders` (',
        `  \`id\` varchar(768) ${text} NOT NULL,`,
        '  `n` int NULL,',
        '  `d` decimal(10,2) NULL,',
        '  `at` timestamp(6) NULL,',
        '  `doc` json NULL,',
        `  \`state\` longtext ${text} NULL,`,
        '  `b` longblob NULL,',
        '  PRIMARY KEY (`id`)',
        ') ENGINE=InnoDB',
      ].join('\n'),
    );
    const mariadb = { ...schema, sourceName: 'io.debezium.connector.mariadb.Source' };
    expect(sqlOf(mariadb)).toContain(`\`doc\` longtext ${text} NULL`);
  });

  it('takes the source’s type where the connector propagates it', () => {
    const source = (type: string, length?: string): Readonly<Record<string, string>> => ({
      '__debezium.source.column.type': type,
      ...(length !== undefined && { '__debezium.source.column.length': length }),
    });
    const sql = sqlOf(
      table([
        column('u', 'int64', null, source('BIGINT UNSIGNED')),
        column('v', 'string', null, source('VARCHAR', '20')),
        column('e', 'string', 'io.debezium.data.Enum', source('ENUM', '1')),
      ]),
    );
    expect(sql).toContain('`u` bigint unsigned NULL');
    expect(sql).toContain('`v` varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL');
    expect(sql).toContain('`e` longtext');
  });

  it('says what events do not tell, and refuses what it cannot hold', () => {
    const bare = table([column('n', 'int32')]);
    expect(planFromEvents([bare]).notCarried.map(({ what }) => what)).toEqual([
      'defaults, checks, foreign keys, further indexes, views, character sets',
      'key of table shop.orders',
    ]);
    expect(() => planFromEvents([table([column('m', 'map')])])).toThrow(
      expect.objectContaining({
        code: 'TYPE_UNKNOWN',
        context: { table: 'shop.orders', column: 'm' },
      }),
    );
    expect(() => planFromEvents([{ ...bare, key: ['id'] }])).toThrow(
      expect.objectContaining({ code: 'COLUMN_UNKNOWN' }),
    );
  });
});
