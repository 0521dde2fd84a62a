import type { EngineName } from '../../dialect.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { Client } from './client.ts';

/** Which of the two servers it is, and what it can. Read from the server, never from the URL. */
export interface Flavour {
  readonly engine: Extract<EngineName, 'mysql' | 'mariadb'>;
  /** As the server writes it. */
  readonly version: string;
}

/** The oldest of each whose features are used (SKIP LOCKED) and that tests were run on one like it. */
const OLDEST: Readonly<Record<Flavour['engine'], readonly [number, number]>> = {
  mysql: [8, 4],
  mariadb: [10, 6],
};

const NAMES: Readonly<Record<Flavour['engine'], string>> = { mysql: 'MySQL', mariadb: 'MariaDB' };

/** UNSUPPORTED if the server is older than what is used of it. */
export async function readFlavour(client: Client): Promise<Flavour> {
  const { version } = await client.row<{ version: string }>('SELECT VERSION() AS version');
  const engine = /mariadb/i.test(version) ? 'mariadb' : 'mysql';
  // Behind some proxies MariaDB says `5.5.5-10.11.2-MariaDB`.
  const [major = 0, minor = 0] = version
    .replace(/^5\.5\.5-/, '')
    .split('.', 2)
    .map((part) => Number.parseInt(part, 10));
  const [oldMajor, oldMinor] = OLDEST[engine];
  if (major < oldMajor || (major === oldMajor && minor < oldMinor)) {
    const needed = `${NAMES[engine]} ${String(oldMajor)}.${String(oldMinor)}`;
    throw new UnderstudyError('UNSUPPORTED', `${needed} or later is needed`, {
      detail: `the server has ${version}`,
    });
  }
  return { engine, version };
}

/**
 * What tells a server from all others: MySQL's server_uuid, MariaDB's server_uid. A MariaDB before
 * 10.6.16 or 10.11 has none; there it is said where and as what the server runs, with the part of
 * its UUIDs that it chose at its start, so that two servers set up alike differ as well.
 */
export async function readSystemId(client: Client, { engine }: Flavour): Promise<string> {
  if (engine === 'mysql') {
    return (await client.row<{ id: string }>('SELECT @@server_uuid AS id')).id;
  }
  const found = await client.rows<{ Value: string }>(`SHOW GLOBAL VARIABLES LIKE 'server_uid'`);
  const uid = found[0]?.Value;
  if (uid !== undefined && uid !== '') return uid;
  const { id } = await client.row<{ id: string }>(
    `SELECT CONCAT_WS('/', @@hostname, @@port, @@datadir, @@server_id, SUBSTRING(UUID(), 20)) AS id`,
  );
  return id;
}

/**
 * Whether the server writes to its binlog what foreign keys delete and change: MySQL since 9.6, unless
 * it leaves that to the storage engine.
 */
export async function logsCascades(client: Client): Promise<boolean> {
  const [native] = await client.rows<{ Value: string }>(
    `SHOW GLOBAL VARIABLES LIKE 'innodb_native_foreign_keys'`,
  );
  return native?.Value === 'OFF';
}
