import { describe, expect, it } from 'vitest';
import { diagnoseConnector } from '../../src/doctor/connector-settings.ts';
import { publishedConnector } from '../support/connectors.ts';

/** What every stream needs so that its rows can be taken over exactly. */
const EVERYWHERE = {
  'provide.transaction.metadata': 'true',
  'skipped.operations': 'none',
  'tombstones.on.delete': 'true',
  'event.converting.failure.handling.mode': 'fail',
  'key.converter.schemas.enable': 'true',
  'value.converter.schemas.enable': 'true',
  'value.converter.replace.null.with.default': 'false',
  'topic.creation.groups': 'transaction',
  'topic.creation.transaction.partitions': '1',
};

const BINLOG = {
  'decimal.handling.mode': 'precise',
  'enable.time.adjuster': 'false',
  'bigint.unsigned.handling.mode': 'precise',
  'time.precision.mode': 'adaptive_time_microseconds',
  'inconsistent.schema.handling.mode': 'fail',
  'event.processing.failure.handling.mode': 'fail',
  'include.schema.changes': 'true',
};

const REQUIRED = {
  postgres: {
    'connector.class': 'io.debezium.connector.postgresql.PostgresConnector',
    'plugin.name': 'pgoutput',
    'publication.autocreate.mode': 'filtered',
    'publish.via.partition.root': 'true',
    'time.precision.mode': 'adaptive',
    'decimal.handling.mode': 'string',
    'interval.handling.mode': 'string',
    'include.unknown.datatypes': 'true',
  },
  mysql: { 'connector.class': 'io.debezium.connector.mysql.MySqlConnector', ...BINLOG },
  mariadb: { 'connector.class': 'io.debezium.connector.mariadb.MariaDbConnector', ...BINLOG },
} as const;

/** Settings that lose or bend values, or whole operations. */
const FORBIDDEN = [
  /^transforms$/,
  /^column\.(mask|truncate|exclude)/,
  /^errors\.tolerance$/,
  /^message\.key\.columns$/,
];

describe.each(['postgres', 'mysql', 'mariadb'] as const)('connectors/%s.json', (name) => {
  it('sets what an exact shadow needs', async () => {
    expect(await publishedConnector(name)).toMatchObject({ ...EVERYWHERE, ...REQUIRED[name] });
  });

  it('holds no trap that doctor knows', async () => {
    const settings = new Map(Object.entries(await publishedConnector(name)));
    const findings = diagnoseConnector('prod', settings, { byColumn: false });
    expect(findings.map(({ id, level }) => `${level} ${id}`)).toEqual(['ok connector.settings']);
  });

  it('sends heartbeats, so that a quiet database does not look like a broken one', async () => {
    const { 'heartbeat.interval.ms': interval } = await publishedConnector(name);
    expect(Number(interval)).toBeGreaterThan(0);
    expect(Number(interval)).toBeLessThanOrEqual(10_000);
  });

  it('routes the transaction topic, and nothing else, into one partition', async () => {
    const config = await publishedConnector(name);
    const pattern = new RegExp(`^${config['topic.creation.transaction.include'] ?? ''}$`);
    expect('prod.transaction').toMatch(pattern);
    expect('prod.public.transactions').not.toMatch(pattern);
    expect('prod.public.transaction').not.toMatch(pattern);
  });

  it('holds strings only, no password, and nothing that bends values', async () => {
    const config = await publishedConnector(name);
    for (const [key, value] of Object.entries(config)) {
      expect(value, key).toBeTypeOf('string');
      expect(FORBIDDEN.filter((pattern) => pattern.test(key))).toEqual([]);
    }
    expect(config['database.password']).toMatch(/^\$\{env:[A-Z_]+\}$/);
  });
});
