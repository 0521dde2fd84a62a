import { randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { ConnectorConfig } from './connect-rest.ts';

/** What `connectors/NAME.json` is for. */
export type ConnectorName = 'postgres' | 'mysql' | 'mariadb';

/** For tests: changes arrive within milliseconds, heartbeats several times a second. */
const HASTE: ConnectorConfig = { 'heartbeat.interval.ms': '300', 'poll.interval.ms': '50' };

/** The settings we publish for a connector, as they are in the repository. */
export async function publishedConnector(name: ConnectorName): Promise<ConnectorConfig> {
  const file = new URL(`../../connectors/${name}.json`, import.meta.url);
  const { config } = JSON.parse(await readFile(file, 'utf8')) as { config: ConnectorConfig };
  return config;
}

/**
 * The published PostgreSQL connector, pointed at the database `url` names and its schema `public`.
 * Slot and publication are named after `prefix` (lower case letters, digits, underscores), which is
 * also the topic prefix; `overrides` win.
 */
export async function postgresConnector(
  url: string,
  prefix: string,
  overrides: ConnectorConfig = {},
): Promise<ConnectorConfig> {
  const at = new URL(url);
  return {
    ...(await publishedConnector('postgres')),
    ...HASTE,
    'database.hostname': at.hostname,
    'database.port': at.port,
    'database.user': decodeURIComponent(at.username),
    'database.password': decodeURIComponent(at.password),
    'database.dbname': decodeURIComponent(at.pathname.slice(1)),
    'topic.prefix': prefix,
    'slot.name': prefix,
    'publication.name': prefix,
    ...overrides,
  };
}

/**
 * The published MySQL or MariaDB connector, pointed at one database of that server, under a replica
 * id of its own. `overrides` win.
 */
export async function binlogConnector(
  name: 'mysql' | 'mariadb',
  source: {
    readonly server: { readonly port: number; readonly user: string; readonly password: string };
    readonly database: string;
    readonly broker: string;
  },
  prefix: string,
  overrides: ConnectorConfig = {},
): Promise<ConnectorConfig> {
  return {
    ...(await publishedConnector(name)),
    ...HASTE,
    'database.hostname': '127.0.0.1',
    'database.port': String(source.server.port),
    'database.user': source.server.user,
    'database.password': source.server.password,
    'database.server.id': String(randomInt(100_000, 1_000_000_000)),
    'database.include.list': source.database,
    'topic.prefix': prefix,
    'schema.history.internal.kafka.bootstrap.servers': source.broker,
    'schema.history.internal.kafka.topic': `${prefix}.schema-history`,
    ...overrides,
  };
}
