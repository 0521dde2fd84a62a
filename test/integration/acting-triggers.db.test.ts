/** Production's triggers act for the candidate; for what is applied act those alone that are named. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { dialectFor } from '../../src/dialect/registry.ts';
import type { ShadowPlan } from '../../src/schema/shadow-plan.ts';
import { readFlavour } from '../../src/dialect/mysql/session/flavour.ts';
import { ServerAddress } from '../../src/dialect/mysql/session/address.ts';
import { Connection } from '../../src/dialect/mysql/session/connection.ts';
import { cloneDatabase } from '../../src/dialect/mysql/shadow/clone.ts';
import {
  ENGINES,
  freshName,
  openTrunk,
  overlaidRollout,
  put,
  rolloutName,
  rowsOf,
  rowsStep,
  stageOf,
} from './mysql.fixture.ts';
import {
  ALL_ENGINES,
  anyRollout,
  ruledRollout,
  trustPrograms,
  type AnyEngine,
} from './rollout.fixture.ts';

function noting(engine: AnyEngine, trigger: string, into: string): readonly string[] {
  if (engine !== 'postgresql') {
    return [
      `CREATE TRIGGER ${trigger} AFTER INSERT ON t FOR EACH ROW INSERT INTO ${into} VALUES (NEW.id)`,
    ];
  }
  return [
    `CREATE FUNCTION ${trigger}_f() RETURNS trigger LANGUAGE plpgsql AS
      $$BEGIN INSERT INTO public.${into} VALUES (NEW.id); RETURN NULL; END$$`,
    `CREATE TRIGGER ${trigger} AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION ${trigger}_f()`,
  ];
}

const DDL = (engine: AnyEngine): readonly string[] => [
  'CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9))',
  'CREATE TABLE told (id INT)',
  'CREATE TABLE untold (id INT)',
  ...TRIGGERS(engine),
];

const TRIGGERS = (engine: AnyEngine): readonly string[] => [
  ...noting(engine, 'tell', 'told'),
  ...noting(engine, 'keep', 'untold'),
];

describe.each(ALL_ENGINES)('triggers on %s', (engine) => {
  it('act on what is applied if they are named, and for the candidate in any case', async () => {
    const named = new Set(['tell', 'tell_more']);
    const actingTriggers = (_: unknown, name: string): boolean => named.has(name);
    const at = await ruledRollout(engine, { actingTriggers }, ...DDL(engine));
    if (engine !== 'postgresql') await trustPrograms(at);
    const ids = (table: string) => at.rows(`SELECT id FROM ${table} ORDER BY id`);
    const row = (id: string) => at.step('t', put(['id'], { id, v: 'a' }));
    const { migrations } = at.database;
    const migrate = async (...statements: readonly string[]): Promise<void> => {
      const { url } = await migrations.begin(at.fence, { role: at.role, renames: [] });
      for (const sql of statements) await at.as(url, sql);
      await migrations.end(at.fence);
      await at.database.guardReadOnly(at.fence);
    };
    await at.apply(row('1'));
    await at.run(`INSERT INTO t VALUES (100, 'mine')`);
    expect(await ids('told')).toEqual([[1], [100]]);
    expect(await ids('untold')).toEqual([[100]]);
    expect((await at.database.overlayRows(9)).map(({ key }) => key)).toEqual([['100']]);
    await migrate(
      ...['ALTER TABLE t ADD COLUMN w INT', 'CREATE TABLE told_more (id INT)'],
      ...noting(engine, 'tell_more', 'told_more'),
    );
    await at.apply(row('2'));
    await at.run(`INSERT INTO t VALUES (101, 'mine', 1)`);
    expect(await ids('told')).toEqual([[1], [2], [100], [101]]);
    expect(await ids('told_more')).toEqual([[2], [101]]);
    expect(await ids('untold')).toEqual([[100], [101]]);
    expect(await at.production('t', 'id, v')).toEqual([
      [1, 'a'],
      [2, 'a'],
    ]);
    if (engine !== 'postgresql') return;
    // There the rules count as they are by now.
    named.clear();
    await at.database.guardReadOnly(at.fence);
    await at.apply(row('3'));
    expect(await ids('told')).toEqual([[1], [2], [100], [101]]);
  });
});

it.each(ENGINES)('those of the trunk are copied so on %s', async (engine) => {
  const stage = await stageOf(engine, ...DDL(engine).slice(0, 3));
  await stage.client.query(`USE \`${stage.trunk}\``);
  for (const sql of TRIGGERS(engine)) await stage.client.query(sql);
  const to = rolloutName(stage);
  const address = new ServerAddress(stage.url, 'shadow.url');
  await using server = new Connection({ address, database: null });
  const flavour = await server.use({ doing: 'look', otherwise: 'INTERNAL' }, readFlavour);
  const acts = (_: unknown, name: string): boolean => name === 'tell';
  await cloneDatabase(address, flavour, { from: stage.trunk, to, rolloutName: 'next', acts });
  const bodies = await rowsOf(
    stage.client,
    `SELECT TRIGGER_NAME AS name, ACTION_STATEMENT LIKE '%applier%' AS spares
      FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = '${to}' ORDER BY 1`,
  );
  expect(bodies.map(({ name, spares }) => [name, Number(spares)])).toEqual([
    ...[
      ['keep', 1],
      ['tell', 0],
    ],
  ]);
});

describe.each(ENGINES)('production’s triggers on %s', (engine) => {
  it('come to rollouts, but for those that name what these have not', async () => {
    const stage = await stageOf(
      engine,
      'CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9), up INT)',
      'CREATE TABLE log (id INT AUTO_INCREMENT PRIMARY KEY, t_id INT)',
      'CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN 2 * n',
      `CREATE TRIGGER raises BEFORE UPDATE ON t FOR EACH ROW SET NEW.up = OLD.up + 1`,
      `CREATE TRIGGER logs AFTER UPDATE ON t FOR EACH ROW BEGIN
        -- "twice" is no more than a word here
        INSERT INTO log (t_id) VALUES (NEW.id); END`,
      `CREATE TRIGGER calls BEFORE INSERT ON t FOR EACH ROW SET NEW.up = twice(NEW.up)`,
      'CREATE PROCEDURE noop() SET @y = 1',
      'CREATE TRIGGER asks AFTER DELETE ON t FOR EACH ROW CALL noop()',
      `CREATE TRIGGER counts BEFORE DELETE ON t FOR EACH ROW
        SET @x = (SELECT COUNT(*) FROM mysql.user)`,
      `CREATE FUNCTION users() RETURNS INT READS SQL DATA RETURN (SELECT COUNT(*) FROM mysql.user)`,
      'CREATE PROCEDURE count_all() SET @x = users()',
      'CREATE TRIGGER through BEFORE DELETE ON t FOR EACH ROW CALL count_all',
    );
    const row = (n: string) => rowsStep(stage, 't', put(['id'], { id: '1', v: n, up: n }));
    await stage.apply(row('1'));
    const account = freshName('reader', stage.url);
    await stage.client.query(`CREATE USER ${account}@'%' IDENTIFIED BY 'pass'`);
    onTestFinished(async () => {
      await stage.client.query(`DROP USER ${account}`);
    });
    const rights = engine === 'mysql' ? 'REPLICATION CLIENT' : 'BINLOG MONITOR';
    await stage.client.query(`GRANT ${rights} ON *.* TO ${account}`);
    await stage.client.query(
      `GRANT SELECT, SHOW VIEW, TRIGGER ON \`${stage.source}\`.* TO ${account}`,
    );
    // Also by an account that sees no routine.
    const url = Object.assign(new URL(stage.url), {
      ...{ username: account, password: 'pass', pathname: `/${stage.source}` },
    });
    const production = await dialectFor(url.href).connectProduction(url.href, () => true);
    onTestFinished(() => production[Symbol.asyncDispose]());
    const leftBy = ({ notCarried }: ShadowPlan): readonly string[] =>
      notCarried.flatMap(({ what, why }) => {
        const [kind, name = ''] = what.split(' ');
        return kind === 'trigger' ? [`${name}: ${why}`] : [];
      });
    expect(leftBy(await stage.plan())).toEqual([
      'counts: it names database mysql',
      'through: it calls count_all: it calls users: it names database mysql',
    ]);
    expect(leftBy(await production.planShadow())).toEqual([
      'asks: it calls noop, which a rollout has not',
      'calls: it calls twice, which a rollout has not',
      'counts: it names database mysql',
      'through: it calls count_all, which a rollout has not',
    ]);
    const at = await overlaidRollout(stage);
    await at.apply(row('2'));
    expect(await rowsOf(at.admin, 'SELECT id FROM log')).toEqual([]);
    expect(await rowsOf(at.admin, 'SELECT up FROM t')).toEqual([{ up: 2 }]);
    await at.candidate.query(`UPDATE t SET v = 'mine'`);
    expect(await rowsOf(at.admin, 'SELECT v, up FROM t')).toEqual([{ v: 'mine', up: 3 }]);
    await at.candidate.query(`INSERT INTO t VALUES (2, 'mine', 7)`);
    expect(await rowsOf(at.admin, 'SELECT up FROM t WHERE id = 2')).toEqual([{ up: 14 }]);
    await at.candidate.query('DELETE FROM t WHERE id = 2');
    // What the trigger wrote is the candidate's as well.
    const kinds = (await at.database.overlayRows(9)).map(({ table, kind }) => [table.name, kind]);
    expect(kinds).toEqual([
      ['log', 'insert'],
      ['t', 'update'],
    ]);
  });

  it('are left out, and named, where the trunk has lost what they name', async () => {
    const stage = await stageOf(
      engine,
      'CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9), up INT)',
      `CREATE TRIGGER raises BEFORE UPDATE ON t FOR EACH ROW SET NEW.up = OLD.up + 1`,
    );
    await stage.client.query('ALTER TABLE t DROP COLUMN up');
    const to = rolloutName(stage);
    await stage.server.clone({ from: stage.trunk, to, rolloutName: 'next' });
    const copy = await openTrunk(stage.server, to);
    const fence = await copy.takeFence('test');
    if (fence === null) throw new Error('the fence of a new rollout is taken');
    expect(await copy.installOverlay(fence)).toMatchObject({
      triggersLeft: ['raises of table t'],
    });
  });

  it('are left out as well where the trunk has lost what they call', async () => {
    const stage = await stageOf(
      engine,
      'CREATE TABLE t (id INT PRIMARY KEY, up INT)',
      'CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN 2 * n',
      'CREATE TRIGGER raises BEFORE INSERT ON t FOR EACH ROW SET NEW.up = twice(NEW.up)',
    );
    await stage.client.query('DROP FUNCTION twice');
    const at = await overlaidRollout(stage);
    await at.candidate.query('INSERT INTO t VALUES (1, 7)');
    expect(await rowsOf(at.admin, 'SELECT up FROM t')).toEqual([{ up: 7 }]);
  });

  it('go from rollouts when production takes what they name away', async () => {
    const at = await anyRollout(
      engine,
      'CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9), up INT)',
      'CREATE TRIGGER raises BEFORE UPDATE ON t FOR EACH ROW SET NEW.up = OLD.up + 1',
      `CREATE TRIGGER marks BEFORE INSERT ON t FOR EACH ROW SET NEW.v = COALESCE(NEW.v, 'none')`,
    );
    const column = (await at.database.catalogue())
      .get(`${at.source}.t`)
      ?.columns.find(({ name }) => name === 'up');
    if (column === undefined) throw new Error('there is no such column');
    const table = { schema: at.source, name: 't' };
    const gone = await at.database.evolving.carry(at.fence, [
      {
        change: { kind: 'drop', table, column },
        statements: [{ sql: 'ALTER TABLE t DROP COLUMN up', what: 'column up', optional: false }],
        beside: (name) => [`ALTER TABLE ${name} DROP COLUMN up`],
      },
    ]);
    expect(gone).toEqual(['trigger raises of table t: it names what is there no more']);
    await at.run(`INSERT INTO t (id) VALUES (1)`);
    await at.run('UPDATE t SET id = 2');
    expect(await at.rows('SELECT id, v FROM t')).toEqual([[2, 'none']]);
  });
});
