/** Production on MySQL and MariaDB: traps planted on servers of our own, and looked for. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import type { Diagnosis, ProductionDatabase } from '../../src/dialect/dialect.ts';
import { dialectFor } from '../../src/dialect/registry.ts';
import { openProduction } from '../../src/runtime/production.ts';
import { UnderstudyError } from '../../src/errors/understudy-error.ts';
import { LOSSES } from '../../src/decode/losses/losses.ts';
import { toldByCatalogue } from '../support/told-losses.ts';
import { startMariaDB } from '../support/mariadb.ts';
import type { MySqlServer } from '../support/mysql-server.ts';
import { startMySQL } from '../support/mysql.ts';

const SHOP = [
  'CREATE TABLE fine (id INT PRIMARY KEY, d DECIMAL(5,2), u INT NOT NULL UNIQUE)',
  'CREATE TABLE bare (n INT, u INT NULL UNIQUE, p VARCHAR(90) NOT NULL, UNIQUE KEY (p(5)))',
  'CREATE TABLE `straße` (id INT PRIMARY KEY)',
  'CREATE TABLE years (id INT PRIMARY KEY, y YEAR)',
  `CREATE TABLE children (id INT PRIMARY KEY, fine INT,
    CONSTRAINT goes_along FOREIGN KEY (fine) REFERENCES fine (id) ON DELETE CASCADE,
    CONSTRAINT stays FOREIGN KEY (fine) REFERENCES fine (id))`,
];
const ELSEWHERE = [
  'CREATE TABLE squeezed (id INT PRIMARY KEY, c TEXT COMPRESSED)',
  'CREATE TABLE hosts (id INT PRIMARY KEY, a INET6, b INET4)',
  `CREATE TABLE files (id INT PRIMARY KEY, e ENUM('COMPRESSED', '/*M!100301 COMPRESSED*/'))`,
];

describe.each([
  { engine: 'mysql', start: startMySQL },
  { engine: 'mariadb', start: startMariaDB },
] as const)('production on $engine', ({ engine, start }) => {
  const told = new Set<string>();
  let server: MySqlServer;
  let production: ProductionDatabase;

  beforeAll(async () => {
    server = await start();
    await server.execute(['CREATE DATABASE shop', 'CREATE DATABASE elsewhere']);
    await server.execute(SHOP, 'shop');
    const url = `${server.url}shop`;
    production = await dialectFor(url).connectProduction(url, () => true);
  });
  afterAll(async () => {
    await production[Symbol.asyncDispose]();
    await server.stop();
  });

  const found = async (...tables: readonly string[]): Promise<readonly string[]> => {
    const ids = tables.map((name) => ({ schema: 'shop', name }));
    const findings: readonly Diagnosis[] = await production.diagnose(ids, null);
    for (const { id, level } of findings) if (level !== 'ok') told.add(id);
    expect(findings.every(({ level, cure }) => (level === 'ok') === (cure === null))).toBe(true);
    return findings.flatMap(({ level, id, message }) =>
      level === 'ok' ? [] : [`${level} ${id}${/ \((\w+)\)/.exec(message)?.[1] ?? ''}`],
    );
  };
  /** What is always said of a server as the tests start it. */
  const usual = engine === 'mysql' ? ['warning production.gtid'] : [];
  /** MySQL 9.6 and later carries them out itself, and writes them. */
  const cascades = (level: string): readonly string[] =>
    engine === 'mariadb' ? [`${level} table.cascadesgoes_along`] : [];
  const years = engine === 'mariadb' ? ['warning table.year-zeroy'] : [];
  const withoutUsual = async (...tables: readonly string[]): Promise<readonly string[]> =>
    (await found(...tables)).filter((finding) => !usual.includes(finding));

  it('is what the server says, and none but what the connector reads', async () => {
    expect(production.engine).toBe(engine);
    const config = (connector: string) =>
      parseConfig(
        JSON.stringify({
          source: { connector, topicPrefix: 'p', kafka: { brokers: ['b:9092'] } },
          production: { url: `${server.url}shop` },
          shadow: { url: server.url },
        }),
        { file: 'understudy.yaml', env: {} },
      );
    const other = engine === 'mysql' ? 'mariadb' : 'mysql';
    await expect(openProduction(config(other))).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining(`is ${engine}, but source.connector is ${other}`) as string,
    });
    const own = await openProduction(config(engine));
    expect(own?.engine).toBe(engine);
    await own?.[Symbol.asyncDispose]();
  });

  it('is fine where all is as it should be', async () => {
    expect(await withoutUsual('fine')).toEqual([]);
  });

  it('names tables without key, names beyond ASCII, and tables that are not there', async () => {
    expect(await withoutUsual('bare')).toEqual(['warning table.key']);
    expect(await withoutUsual('straße')).toEqual(['warning table.name']);
    expect(await withoutUsual('years')).toEqual(years);
    expect(await withoutUsual('nowhere')).toEqual(['error table.missing']);
    expect(await withoutUsual()).toEqual([
      'warning table.key',
      ...years,
      ...cascades('warning'),
      'warning table.name',
    ]);
  });

  it('names foreign keys whose effects the binlog lacks: on MariaDB', async () => {
    // Nobody would see what happens to their parents.
    expect(await withoutUsual('children')).toEqual(cascades('error'));
    expect(await withoutUsual('children', 'fine')).toEqual(cascades('warning'));
  });

  it('knows which columns have a default', async () => {
    await server.execute(
      ['CREATE TABLE defaults (id INT PRIMARY KEY, a INT DEFAULT 5, b INT, c INT DEFAULT NULL)'],
      'shop',
    );
    const catalogue = await production.catalogue();
    const columns = catalogue.get('shop.defaults')?.columns ?? [];
    expect(columns.filter(({ hasDefault }) => hasDefault).map(({ name }) => name)).toEqual(['a']);
    await server.execute(['DROP TABLE defaults'], 'shop');
  });

  it('names settings by which rows arrive in part', async () => {
    await server.execute(['SET GLOBAL binlog_row_image = MINIMAL']);
    expect(await withoutUsual('fine')).toEqual(['error production.row-image']);
    await server.execute(['SET GLOBAL binlog_row_image = NOBLOB']);
    expect(await withoutUsual('fine')).toEqual(['error production.row-image']);
    await server.execute(['SET GLOBAL binlog_row_image = FULL']);
    await server.execute(['SET GLOBAL binlog_format = STATEMENT']);
    expect(await withoutUsual('fine')).toEqual(['error production.binlog-format']);
    await server.execute(['SET GLOBAL binlog_format = ROW']);
    await server.execute(['SET GLOBAL binlog_expire_logs_seconds = 3600']);
    expect(await withoutUsual('fine')).toEqual(['warning production.binlog-expiry']);
    await server.execute(['SET GLOBAL binlog_expire_logs_seconds = 604800']);
    expect(await withoutUsual('fine')).toEqual([]);
  });

  it.runIf(engine === 'mysql')('names partial JSON', async () => {
    await server.execute([`SET GLOBAL binlog_row_value_options = 'PARTIAL_JSON'`]);
    expect(await withoutUsual('fine')).toEqual(['error production.partial-json']);
    await server.execute([`SET GLOBAL binlog_row_value_options = ''`]);
  });

  it('names compression by which changes are passed over, or cannot be told apart', async () => {
    const [name, finding] =
      engine === 'mysql'
        ? ['binlog_transaction_compression', 'warning production.compressed-transactions']
        : ['log_bin_compress', 'error production.compressed-events'];
    await server.execute([`SET GLOBAL ${name} = ON`]);
    expect(await withoutUsual('fine')).toEqual([finding]);
    await server.execute([`SET GLOBAL ${name} = OFF`]);
    expect(await withoutUsual('fine')).toEqual([]);
  });

  it('says what an account that may only read cannot tell', async () => {
    await server.execute([
      `CREATE USER reader@'%' IDENTIFIED BY 'r'`,
      `GRANT SELECT, SHOW VIEW, TRIGGER ON shop.* TO reader@'%'`,
    ]);
    const url = `mysql://reader:r@127.0.0.1:${String(server.port)}/shop`;
    await using weak = await dialectFor(url).connectProduction(url, () => true);
    const ids = (await weak.diagnose([], null)).map(({ id }) => id);
    expect(ids).toContain('production.replication-client');
    expect((await weak.planShadow()).tables).toHaveLength(SHOP.length);
    await server.execute([
      `GRANT ${engine === 'mysql' ? 'REPLICATION CLIENT' : 'BINLOG MONITOR'} ON *.* TO reader@'%'`,
    ]);
    const stronger = (await weak.diagnose([], null)).map(({ id }) => id);
    expect(stronger).not.toContain('production.replication-client');
  });

  it.runIf(engine === 'mariadb')('pins without any right but to read', async () => {
    await server.execute([
      `CREATE USER bare_pinner@'%' IDENTIFIED BY 'p'`,
      `GRANT SELECT ON shop.* TO bare_pinner@'%'`,
    ]);
    const url = `mysql://bare_pinner:p@127.0.0.1:${String(server.port)}/shop`;
    await using weak = await dialectFor(url).connectProduction(url, () => true);
    const findings = await weak.diagnose([], null);
    expect(findings.find(({ id }) => id === 'production.pin-rights')).toMatchObject({
      level: 'ok',
    });
    const pin = await weak.pin();
    expect(pin.snapshot).toMatch(/^\S+:\d+/);
    await pin.reader[Symbol.asyncDispose]();
  });

  it.runIf(engine === 'mysql')(
    'says which right a pin lacks, and pins with what it asks for',
    async () => {
      await server.execute([
        `CREATE USER pinner@'%' IDENTIFIED BY 'p'`,
        `GRANT SELECT ON shop.* TO pinner@'%'`,
      ]);
      const url = `mysql://pinner:p@127.0.0.1:${String(server.port)}/shop`;
      await using weak = await dialectFor(url).connectProduction(url, () => true);
      const rights = async (): Promise<string> => {
        const all = await weak.diagnose([], null);
        const { level = '', cure = null } =
          all.find(({ id }) => id === 'production.pin-rights') ?? {};
        return `${level} ${cure ?? ''}`;
      };
      const pins = async (): Promise<string> => {
        try {
          const pin = await weak.pin();
          await pin.reader[Symbol.asyncDispose]();
          return 'pinned';
        } catch (error) {
          return error instanceof UnderstudyError ? error.code : String(error);
        }
      };
      expect(await rights()).toContain('error GRANT REPLICATION CLIENT ON *.*');
      expect(await pins()).toBe('DATABASE_PERMISSION');
      await server.execute([`GRANT REPLICATION CLIENT ON *.* TO pinner@'%'`]);
      expect(await rights()).toContain('error GRANT FLUSH_TABLES, XA_RECOVER_ADMIN ON *.*');
      expect(await pins()).toBe('DATABASE_PERMISSION');
      await server.execute([`GRANT LOCK TABLES ON shop.* TO pinner@'%'`]);
      expect(await rights()).toBe('warning GRANT FLUSH_TABLES, XA_RECOVER_ADMIN ON *.* TO it.');
      expect(await pins()).toBe('pinned');
      await server.execute([
        `REVOKE LOCK TABLES ON shop.* FROM pinner@'%'`,
        `GRANT FLUSH_TABLES ON *.* TO pinner@'%'`,
      ]);
      expect(await rights()).toContain('error GRANT XA_RECOVER_ADMIN ON *.*');
      expect(await pins()).toBe('DATABASE_PERMISSION');
      await server.execute([`GRANT XA_RECOVER_ADMIN ON *.* TO pinner@'%'`]);
      expect([await rights(), await pins()]).toEqual(['ok ', 'pinned']);
      expect((await production.diagnose([], null)).map(({ id }) => id)).toContain(
        'production.pin-rights',
      );
    },
  );

  it('names XA where it is in use', async () => {
    await server.execute(
      ['XA START "x"', 'INSERT INTO fine VALUES (1, 1, 1)', 'XA END "x"', 'XA PREPARE "x"'],
      'shop',
    );
    await server.execute(['XA ROLLBACK "x"']);
    expect(await withoutUsual('fine')).toEqual(['warning production.xa']);
  });

  it.runIf(engine === 'mariadb')('names what stops the connector, wherever it is', async () => {
    await server.execute(ELSEWHERE, 'elsewhere');
    const stops = (await withoutUsual('fine')).filter((finding) => finding.startsWith('error'));
    expect(stops).toEqual([
      'error table.stops-inet6a',
      'error table.stops-inet4b',
      'error table.stops-compressedc',
    ]);
  });

  it.runIf(engine === 'mysql')('names a server whose binlog nobody may read', async () => {
    await server.execute(['SET GLOBAL server_id = 0']);
    expect(await withoutUsual('fine')).toContain('error production.server-id');
    await server.execute(['SET GLOBAL server_id = 1']);
    expect(await withoutUsual('fine')).not.toContain('error production.server-id');
  });

  it('names a server without a binlog', async () => {
    const silent = await start({ flags: ['--skip-log-bin'] });
    try {
      await using other = await dialectFor(silent.url).connectProduction(silent.url, () => true);
      const findings = await other.diagnose([], null);
      expect(findings.map(({ level, id }) => `${level} ${id}`)).toContain(
        'error production.log-bin',
      );
    } finally {
      await silent.stop();
    }
  });

  it('names databases that the binlog leaves out', async () => {
    const filtered = await start({ flags: ['--binlog-ignore-db=elsewhere'] });
    try {
      await using other = await dialectFor(filtered.url).connectProduction(
        filtered.url,
        () => true,
      );
      const findings = await other.diagnose([], null);
      const filter = findings.find(({ id }) => id === 'production.binlog-filter');
      expect(filter).toMatchObject({
        level: 'error',
        message: expect.stringContaining('binlog-ignore-db=elsewhere') as string,
      });
    } finally {
      await filtered.stop();
    }
  });

  it('names what is no one database', async () => {
    await server.execute(['CREATE TABLE also (id INT PRIMARY KEY)'], 'elsewhere');
    const ids = async (includes: () => boolean): Promise<readonly string[]> => {
      await using all = await dialectFor(server.url).connectProduction(server.url, includes);
      return (await all.diagnose([], null)).map(({ level, id }) => `${level} ${id}`);
    };
    expect(await ids(() => true)).toContain('error tables.databases');
    expect(await ids(() => false)).toContain('error tables.none');
  });

  it('tells what the table of losses says that it reads in catalogue and settings', () => {
    const promised = toldByCatalogue(engine, LOSSES);
    expect(promised.length).toBeGreaterThan(2);
    expect(promised.filter((id) => !told.has(id))).toEqual([]);
  });
});
