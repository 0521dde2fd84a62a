/**
 * A rollout of a MySQL or MariaDB shadow by the command line, on real parts: made while a process
 * follows, followed by that process, compared, read by its candidate, and deleted.
 */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Connection, RowDataPacket } from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { binlogConnector } from '../support/connectors.ts';
import { startMariaDB } from '../support/mariadb.ts';
import type { MySqlServer } from '../support/mysql-server.ts';
import { startMySQL } from '../support/mysql.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { connectBinlog } from '../support/types/binlog.ts';
import { followed, Workplace } from '../support/understudy.ts';

const DRIVER = fileURLToPath(new URL('../../node_modules/mysql2/promise.js', import.meta.url));
/** What a busy machine may take for it. */
const WITHIN_MS = 120_000;

interface Rollout {
  readonly name: string;
  readonly url: string;
  readonly database: string;
  readonly state: string;
}

async function rowsOf(client: Connection, sql: string): Promise<readonly RowDataPacket[]> {
  const [rows] = await client.query<RowDataPacket[]>(sql);
  return rows;
}

describe.each([
  { engine: 'mysql', start: startMySQL },
  { engine: 'mariadb', start: startMariaDB },
] as const)('rollouts on $engine', ({ engine, start }) => {
  const prefix = `rollouts${engine}${String(process.pid)}`;
  let production: MySqlServer;
  let shadow: MySqlServer;
  let source: Connection;
  let inside: Connection;
  let workplace: Workplace;

  beforeAll(async () => {
    [production, shadow] = await Promise.all([start(), start()]);
    const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
    await production.execute([
      'CREATE DATABASE shop',
      'CREATE TABLE shop.item (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40))',
      `CREATE TABLE shop.part (id INT PRIMARY KEY, item INT, FOREIGN KEY (item)
        REFERENCES shop.item (id) ON DELETE CASCADE)`,
      `CREATE VIEW shop.named AS SELECT name FROM shop.item`,
      `INSERT INTO shop.item VALUES (1, 'one'), (2, 'two')`,
      'INSERT INTO shop.part VALUES (1, 1), (2, 2)',
    ]);
    source = await connectBinlog(`${production.url}shop`);
    inside = await connectBinlog(shadow.url);
    const from = { server: production, database: 'shop', broker: kafka.broker };
    await connect.createConnector(prefix, await binlogConnector(engine, from, prefix));
    workplace = await Workplace.make(
      followed(prefix, {
        ...{ kafka, connect, shadow, connector: engine },
        production: { url: `${production.url}shop` },
      }),
    );
  });

  afterAll(async () => {
    await workplace[Symbol.asyncDispose]();
    await (await sharedConnect()).deleteConnector(prefix);
    await Promise.all([source.end(), inside.end()]);
    await Promise.all([production.stop(), shadow.stop()]);
  });

  /** Its release's own program changes a table; production's image of it is exact, and goes on. */
  async function migrated(candidate: Connection): Promise<void> {
    await writeFile(
      path.join(workplace.directory, 'migrate.mjs'),
      `import mysql from ${JSON.stringify(DRIVER)};
      const client = await mysql.createConnection(process.env.DATABASE_URL);
      await client.query('ALTER TABLE item RENAME COLUMN name TO label');
      await client.query('ALTER TABLE item ADD COLUMN size INT NOT NULL DEFAULT 7');
      await client.query('UPDATE item SET size = 8, label = UPPER(label) WHERE id = 4');
      await client.query('CREATE TABLE own (id INT PRIMARY KEY)');
      await client.end();`,
    );
    await candidate.query(`UPDATE item SET name = 'again' WHERE id = 4`);
    const renamed = ['--rename', 'shop.item.name=label'];
    const migrate = ['rollout', 'migrate', 'blue', '--json', ...renamed];
    const command = ['--', process.execPath, 'migrate.mjs'];
    const done = await workplace.run([...migrate, ...command]);
    expect({ status: done.status, err: done.stderr }).toMatchObject({ status: 0 });
    expect(JSON.parse(done.stdout)).toMatchObject({
      reshaped: [{ table: { name: 'item' }, renamed: { name: 'label' }, own: ['size'] }],
      own: [{ name: 'own' }],
    });
    await source.query(`UPDATE item SET name = 'renamed here' WHERE id = 3`);
    await source.query(`INSERT INTO item VALUES (5, 'five')`);
    await source.query('INSERT INTO part VALUES (5, 5)');
    await source.query(`UPDATE item SET name = 'beneath' WHERE id = 4`);
    const seen = 'SELECT id, label, size FROM shop_blue.item ORDER BY id';
    await expect
      .poll(() => rowsOf(inside, seen), { timeout: WITHIN_MS })
      .toEqual([
        { id: 3, label: 'renamed here', size: 7 },
        { id: 4, label: 'AGAIN', size: 8 },
        { id: 5, label: 'five', size: 7 },
      ]);
    const image = 'SELECT id, name FROM shop_blue__production.item ORDER BY id';
    await expect
      .poll(() => rowsOf(inside, image), { timeout: WITHIN_MS })
      .toEqual(await rowsOf(source, 'SELECT id, name FROM item ORDER BY id'));
    const check = await workplace.json<{ readonly verdict: string }>(['drift', 'check', 'blue']);
    expect(check.verdict).toBe('equal');
    await candidate.query(`UPDATE item SET label = 'mine' WHERE id = 5`);
    await expect(candidate.query('ALTER TABLE item ADD COLUMN x INT')).rejects.toMatchObject({
      errno: 1142,
    });
  }

  it('are made of a trunk that is followed, follow as it does, and are gone when deleted', async () => {
    await workplace.json(['materialize', '--until-caught-up']);
    const run = workplace.start(['run']);
    const made = await workplace.json<Rollout>(['rollout', 'create', 'blue']);
    expect(made).toMatchObject({ name: 'blue', database: 'shop_blue', state: 'following' });
    await source.query(`INSERT INTO item (name) VALUES ('three')`);
    await source.query('DELETE FROM item WHERE id = 1');
    const read = 'SELECT id, name FROM shop_blue.item ORDER BY id';
    const rows = [
      { id: 2, name: 'two' },
      { id: 3, name: 'three' },
    ];
    await expect.poll(() => rowsOf(inside, read), { timeout: WITHIN_MS }).toEqual(rows);
    expect(await rowsOf(inside, 'SELECT id FROM shop_blue.part')).toEqual([{ id: 2 }]);
    const check = await workplace.json<{ readonly verdict: string }>(['drift', 'check', 'blue']);
    expect(check.verdict).toBe('equal');
    const candidate = await connectBinlog(made.url);
    expect(await rowsOf(candidate, 'SELECT name FROM named ORDER BY name')).toEqual([
      { name: 'three' },
      { name: 'two' },
    ]);
    expect(await workplace.json(['rollout', 'diff', 'blue'])).toMatchObject({ rows: [] });
    await candidate.query(`UPDATE item SET name = 'mine' WHERE id = 2`);
    await candidate.query('DELETE FROM item WHERE id = 3');
    await candidate.query(`INSERT INTO item (name) VALUES ('new')`);
    await expect(candidate.query('TRUNCATE item')).rejects.toMatchObject({ errno: 1142 });
    // Production goes on, also below what the candidate owns, and by what no log tells of.
    await source.query(`UPDATE item SET name = CONCAT(name, '!')`);
    await source.query('INSERT INTO part VALUES (3, 3)');
    await source.query(`INSERT INTO item VALUES (4, 'four')`);
    await source.query('DELETE FROM item WHERE id = 2');
    const four = { id: 4, name: 'four' };
    await expect
      .poll(() => rowsOf(inside, `${read} LIMIT 2`), { timeout: WITHIN_MS })
      .toEqual([{ id: 2, name: 'mine' }, four]);
    const own = 'SELECT COUNT(*) AS n FROM shop_blue.item WHERE id > 1000000';
    expect(await rowsOf(inside, own)).toEqual([{ n: 1 }]);
    const gone = `SELECT understudy_present AS there FROM shop_blue__understudy.\`item#journal\` WHERE id = 2`;
    await expect.poll(() => rowsOf(inside, gone), { timeout: WITHIN_MS }).toEqual([{ there: 0 }]);
    expect(await workplace.json(['rollout', 'diff', 'blue'])).toMatchObject({
      tables: [{ table: 'shop.item', inserted: 2, updated: 0, deleted: 1 }],
    });
    const beside = await workplace.json<{ readonly verdict: string }>(['drift', 'check', 'blue']);
    expect(beside.verdict).toBe('equal');
    const one = ['rollout', 'reset', 'blue', '--table', 'shop.item', '--key', '2'];
    expect(await workplace.json(one)).toEqual({ rows: 1 });
    expect(await workplace.json(['rollout', 'reset', 'blue'])).toEqual({ rows: 2 });
    expect(await rowsOf(inside, read)).toEqual([{ id: 3, name: 'three!' }, four]);
    expect(await rowsOf(inside, 'SELECT id FROM shop_blue.part')).toEqual([{ id: 3 }]);
    await migrated(candidate);
    const again = await workplace.run(['rollout', 'create', 'blue']);
    expect(again.stderr).toContain('ROLLOUT_EXISTS');
    await workplace.json(['rollout', 'delete', 'blue']);
    await candidate.end().catch(() => undefined);
    const left = `SELECT SCHEMA_NAME AS name FROM information_schema.SCHEMATA
      WHERE SCHEMA_NAME LIKE 'shop\\_blue%' UNION SELECT User FROM mysql.user WHERE User LIKE 'shop%'`;
    expect(await rowsOf(inside, left)).toEqual([]);
    expect(await workplace.json(['rollout', 'list'])).toEqual([]);
    run.kill('SIGTERM');
    expect((await run.ended).status).toBe(0);
  });
});
