/** Circumstances that capture and following of a rollout on MySQL and MariaDB do not depend on. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { applyBatch, openApplySession, prepareActs } from '../../src/dialect/mysql/apply/apply.ts';
import { readTables } from '../../src/dialect/mysql/catalogue/catalogue.ts';
import { ServerAddress } from '../../src/dialect/mysql/session/address.ts';
import { Client, transaction } from '../../src/dialect/mysql/session/client.ts';
import { readFlavour } from '../../src/dialect/mysql/session/flavour.ts';
import { isUnderstudyError } from '../../src/errors/understudy-error.ts';
import { startMariaDB } from '../support/mariadb.ts';
import { startMySQL } from '../support/mysql.ts';
import {
  batchOf,
  ENGINES,
  gone,
  imageOf,
  openTrunk,
  overlaidRollout,
  put,
  rolloutOf,
  rowsOf,
  rowsStep,
  sessionOn,
  shadowServer,
  stageAt,
  stageOf,
  stranger,
} from './mysql.fixture.ts';

describe.each(ENGINES)('on %s', (engine) => {
  it('programs of the trunk spare who applies, also if another account made the copy', async () => {
    const stage = await stageOf(
      engine,
      'CREATE TABLE item (id INT PRIMARY KEY)',
      'CREATE TABLE log (id INT PRIMARY KEY)',
    );
    await stage.client.query(
      'CREATE TRIGGER noted AFTER INSERT ON item FOR EACH ROW INSERT INTO log VALUES (NEW.id)',
    );
    const name = await rolloutOf(stage);
    const other = `o_${name.slice(-8)}`;
    await stage.client.query(`CREATE USER '${other}'@'%' IDENTIFIED BY 'x'`);
    await stage.client.query(`GRANT ALL ON *.* TO '${other}'@'%' WITH GRANT OPTION`);
    onTestFinished(async () => {
      await (await sessionOn(stage.url)).query(`DROP USER '${other}'@'%'`);
    });
    const url = new URL(stage.url);
    [url.username, url.password] = [other, 'x'];
    const rollout = await openTrunk(await shadowServer(url.href), name);
    const fence = await rollout.takeFence('another account');
    if (fence === null) throw new Error('it is held');
    await rollout.installOverlay(fence);
    await rollout.apply(fence, batchOf([rowsStep(stage, 'item', put(['id'], { id: '1' }))]));
    const candidate = await stranger(stage, name, 'SELECT, INSERT');
    await candidate.query('INSERT INTO item VALUES (2)');
    expect(await rowsOf(candidate, 'SELECT id FROM log')).toEqual([{ id: 2 }]);
    const definers = await rowsOf(
      stage.client,
      `SELECT DISTINCT DEFINER AS definer FROM information_schema.TRIGGERS
        WHERE TRIGGER_SCHEMA = '${name}'`,
    );
    expect(definers).toEqual([
      { definer: expect.stringMatching(/__triggers@localhost$/) as string },
    ]);
    // And back again.
    await rollout.releaseFence(fence);
    const first = await openTrunk(stage.server, name);
    const again = await first.takeFence('the first account');
    if (again === null) throw new Error('it is held');
    await first.apply(again, batchOf([rowsStep(stage, 'item', put(['id'], { id: '3' }))]));
    expect(await rowsOf(candidate, 'SELECT id FROM log')).toEqual([{ id: 2 }]);
  });

  it('a place on earth is told from another one, however many corners it has', async () => {
    const flags = ['--max-allowed-packet=1M'];
    const own = await (engine === 'mysql' ? startMySQL({ flags }) : startMariaDB({ flags }));
    onTestFinished(() => own.stop());
    const stage = await stageAt(own.url, 'CREATE TABLE area (id INT PRIMARY KEY, g GEOMETRY)');
    // In hexadecimal it is longer than a packet.
    const corners = 40_000;
    const line = (end: string): string =>
      `ST_GeomFromText(CONCAT('LINESTRING(', REPEAT('0 0,', ${String(corners)}), '${end})'))`;
    await stage.client.query(`INSERT INTO area VALUES (1, ${line('1 1')})`);
    const at = await overlaidRollout(stage);
    await at.candidate.query('UPDATE area SET g = g');
    expect(await at.database.overlayCounts()).toMatchObject([{ updated: 0, equal: 0 }]);
    await at.candidate.query(`UPDATE area SET g = ${line('1 2')}`);
    expect(await at.database.overlayCounts()).toMatchObject([{ updated: 1, equal: 0 }]);
    await at.candidate.query(`UPDATE area SET g = ${line('1 1')}`);
    expect(await at.database.overlayCounts()).toMatchObject([{ updated: 0, equal: 1 }]);
  });

  it('indexes that no hint may name are not named', async () => {
    const hidden = engine === 'mysql' ? 'INVISIBLE' : 'IGNORED';
    const stage = await stageOf(
      engine,
      `CREATE TABLE p (id INT PRIMARY KEY, code INT NOT NULL, UNIQUE KEY of_code (code) ${hidden})`,
      `CREATE TABLE c (id INT PRIMARY KEY, code INT, KEY by_code (code) ${hidden},
        FOREIGN KEY (code) REFERENCES p (code) ON DELETE CASCADE)`,
      `CREATE TABLE k (a INT NOT NULL, id INT NOT NULL, v INT, UNIQUE KEY of_both (a, id),
        UNIQUE KEY of_id (id) ${hidden})`,
    );
    await stage.client.query('INSERT INTO p VALUES (1, 1), (2, 2)');
    await stage.client.query('INSERT INTO c VALUES (1, 1), (2, 2)');
    await stage.client.query('INSERT INTO k VALUES (1, 1, 1), (2, 2, 2)');
    const at = await overlaidRollout(stage);
    await at.candidate.query('DELETE FROM p WHERE id = 1');
    await at.candidate.query('UPDATE k SET v = 9 WHERE id = 1');
    await at.apply(
      rowsStep(stage, 'p', put(['id'], { id: '2', code: '3' })),
      rowsStep(
        stage,
        'c',
        put(['id'], { id: '1', code: '3' }),
        put(['id'], { id: '3', code: '3' }),
      ),
      rowsStep(
        stage,
        'k',
        put(['id'], { a: '1', id: '1', v: '8' }),
        put(['id'], { a: '2', id: '2', v: '8' }),
      ),
    );
    expect(await imageOf(at, 'c', 'id, code')).toEqual([
      { id: 1, code: 3 },
      { id: 2, code: 2 },
      { id: 3, code: 3 },
    ]);
    expect(await imageOf(at, 'k', 'id, v')).toEqual([
      { id: 1, v: 8 },
      { id: 2, v: 8 },
    ]);
    expect(await rowsOf(at.admin, 'SELECT id, v FROM k ORDER BY id')).toEqual([
      { id: 1, v: 9 },
      { id: 2, v: 8 },
    ]);
    await at.candidate.query('INSERT INTO p VALUES (9, 9)');
    const taken = put(['id'], { id: '8', code: '9' });
    await at.apply(rowsStep(stage, 'p', taken));
    const counts = await at.database.overlayCounts();
    expect(counts.find(({ table }) => table.name === 'p')).toMatchObject({ blocked: 1 });
  });

  it('the language of the server’s messages does not matter', async () => {
    const flags = ['--lc-messages=de_DE'];
    const own = await (engine === 'mysql' ? startMySQL({ flags }) : startMariaDB({ flags }));
    onTestFinished(() => own.stop());
    const stage = await stageAt(own.url, 'CREATE TABLE t (id INT PRIMARY KEY, code INT UNIQUE)');
    const at = await overlaidRollout(stage);
    await expect(at.candidate.query('SELECT')).rejects.toThrow(/Fehler|Syntax/);
    await at.candidate.query('INSERT INTO t VALUES (9, 1)');
    const taken = put(['id'], { id: '1', code: '1' });
    await at.apply(rowsStep(stage, 't', taken));
    expect(await at.database.overlayCounts()).toMatchObject([{ blocked: 1 }]);
    await at.candidate.query('DELETE FROM t');
    await at.apply(rowsStep(stage, 't', taken, put(['id'], { id: '2', code: '2' })));
    const swapped = [put(['id'], { id: '1', code: '2' }), put(['id'], { id: '2', code: '1' })];
    await at.apply(rowsStep(stage, 't', ...swapped));
    expect(await imageOf(at, 't', 'id, code')).toEqual([
      { id: 1, code: 2 },
      { id: 2, code: 1 },
    ]);
  });

  it('a parent that comes and goes while its child is written takes nothing with it unseen', async () => {
    const below = `(id INT PRIMARY KEY, up INT, FOREIGN KEY (up) REFERENCES p (id) ON DELETE CASCADE)`;
    const stage = await stageOf(
      engine,
      ...[
        'CREATE TABLE p (id INT PRIMARY KEY)',
        `CREATE TABLE c ${below}`,
        `CREATE TABLE d ${below}`,
      ],
    );
    await stage.client.query('SET SESSION foreign_key_checks = 0');
    await stage.client.query('INSERT INTO c VALUES (9, NULL)');
    await stage.client.query('INSERT INTO d VALUES (1, 5)');
    const at = await overlaidRollout(stage);
    const [first, second, third] = [
      at.candidate,
      await sessionOn(at.candidateUrl, at.name),
      await sessionOn(at.candidateUrl, at.name),
    ];
    const client = await Client.connect(new ServerAddress(stage.url, 'shadow.url'), at.name);
    onTestFinished(() => client.end());
    await prepareActs(client, await readFlavour(client));
    const tables = await readTables(client, at.name, stage.source);
    const session = await openApplySession(client, at.name, tables);
    await client.run('SET SESSION innodb_lock_wait_timeout = 30');
    const idOf = async (of: { query(sql: string): Promise<unknown> }): Promise<string> => {
      const [rows] = (await of.query('SELECT CONNECTION_ID() AS id')) as [{ id: string }[]];
      return String(rows[0]?.id);
    };
    const [applier, deleter] = [await idOf(client.driver), await idOf(second)];
    const isWaiting = async (id: string): Promise<boolean> =>
      (
        await rowsOf(
          at.admin,
          `SELECT 1 AS waits FROM information_schema.INNODB_TRX
            WHERE trx_mysql_thread_id = ${id} AND trx_state = 'LOCK WAIT'`,
        )
      ).length > 0;
    // What the servers tell there is not told anew as long as it is asked for more often than that.
    const until = async (condition: () => Promise<boolean> | boolean): Promise<void> => {
      await expect.poll(condition, { timeout: 20_000, interval: 150 }).toBe(true);
    };

    await first.query('START TRANSACTION');
    await first.query('SELECT * FROM c WHERE id = 9 FOR UPDATE');
    await third.query('START TRANSACTION');
    await third.query('SELECT * FROM d WHERE id = 1 FOR UPDATE');
    const step = rowsStep(
      stage,
      'c',
      put(['id'], { id: '1', up: '5' }),
      put(['id'], { id: '9', up: null }),
    );
    let isApplied = false;
    // It looked for the parent, and waits for a row.
    const applied = (async () => {
      for (;;) {
        try {
          await transaction(client, () => applyBatch(session, batchOf([step])));
          isApplied = true;
          return;
        } catch (error) {
          if (!isUnderstudyError(error, 'APPLY_BLOCKED')) throw error;
        }
      }
    })();
    await until(() => isWaiting(applier));
    await second.query('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
    await second.query('INSERT INTO p VALUES (5)');
    // What is below it was looked for in one table, and not yet in the other.
    const deleted = second.query('DELETE FROM p WHERE id = 5').catch((error: unknown) => error);
    await until(() => isWaiting(deleter));
    await first.query('ROLLBACK');
    const asksForParents = async (): Promise<boolean> => {
      const [asked] = await rowsOf(
        at.admin,
        `SELECT INFO AS text FROM information_schema.PROCESSLIST WHERE ID = ${applier}`,
      );
      return String(asked?.['text']).includes('`p` p');
    };
    await until(async () => isApplied || (await asksForParents()));
    await third.query('ROLLBACK');
    await deleted;
    await applied;
    expect(await imageOf(at, 'c', 'id, up')).toEqual([
      { id: 1, up: 5 },
      { id: 9, up: null },
    ]);
    // As it is without anybody beside it.
    await at.apply(rowsStep(stage, 'c', gone('1')));
    expect(await imageOf(at, 'c', 'id, up')).toEqual([{ id: 9, up: null }]);
  });
});
