/** What captures a candidate's writes is looked after: it comes back, and the table is not said to be equal. */
import { describe, expect, it } from 'vitest';
import { put } from './mysql.fixture.ts';
import { ALL_ENGINES, anyRollout } from './rollout.fixture.ts';

const T = 'CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9))';

describe.each(ALL_ENGINES)('the watch on %s', (engine) => {
  const isPostgres = engine === 'postgresql';

  it('finds nothing where all is there', async () => {
    const at = await anyRollout(engine, T);
    expect(await at.database.watchCapture(at.fence)).toEqual([]);
    await using reader = await at.database.openBaseSnapshot();
    expect([...(await reader.notCaptured())].filter((label) => label.endsWith('.t'))).toEqual([]);
  });

  it.each(
    isPostgres
      ? [
          ['disabled', 'ALTER TABLE t DISABLE TRIGGER ALL'],
          ['dropped', 'DROP TRIGGER "!understudy_row" ON t'],
          [
            'lost with a swapped table',
            'CREATE TABLE t_new (LIKE t INCLUDING ALL); INSERT INTO t_new SELECT * FROM t; ALTER TABLE t RENAME TO t_old; ALTER TABLE t_new RENAME TO t; GRANT ALL ON t TO PUBLIC',
          ],
        ]
      : [
          ['dropped', 'DROP TRIGGER `t#understudy_au`'],
          [
            'lost with a swapped table',
            'CREATE TABLE t_new LIKE t; INSERT INTO t_new SELECT * FROM t; RENAME TABLE t TO t_old, t_new TO t; DROP TABLE t_old',
          ],
        ],
  )('makes again what was %s, and says so for good', async (_, sql) => {
    const at = await anyRollout(engine, T);
    const t = { schema: at.source, name: 't' };
    await at.apply(at.step('t', put(['id'], { id: '1', v: 'a' })));
    for (const one of sql.split('; ')) await at.rows(one);
    await at.run(`UPDATE t SET v = 'unseen' WHERE id = 1`);
    expect(await at.database.watchCapture(at.fence)).toEqual([t]);
    expect(await at.database.watchCapture(at.fence)).toEqual([]);
    // What is not told from production's is read where it is.
    expect(await at.production('t', 'id, v')).toEqual([[1, 'unseen']]);
    await at.apply(at.step('t', put(['id'], { id: '2', v: 'b' })));
    await at.run(`UPDATE t SET v = 'seen' WHERE id = 2`);
    expect(await at.database.overlayRows(9)).toMatchObject([{ key: ['2'], kind: 'update' }]);
    await using reader = await at.database.openBaseSnapshot();
    expect([...(await reader.notCaptured())]).toContain(`${at.source}.t`);
  });

  it('says so at once, and makes it again when nobody is at the table any more', async () => {
    const at = await anyRollout(engine, T);
    await at.apply(at.step('t', put(['id'], { id: '1', v: 'a' })));
    await at.rows(
      isPostgres ? 'ALTER TABLE t DISABLE TRIGGER ALL' : 'DROP TRIGGER `t#understudy_au`',
    );
    const reader = await at.session();
    await reader('BEGIN');
    await reader('SELECT * FROM t');
    await expect(at.database.watchCapture(at.fence)).rejects.toMatchObject({
      code: 'APPLY_BLOCKED',
    });
    expect(await at.database.captureGaps()).toMatchObject([{ name: 't' }]);
    await reader('COMMIT');
    expect(await at.database.watchCapture(at.fence)).toMatchObject([{ name: 't' }]);
    await at.run(`UPDATE t SET v = 'seen' WHERE id = 1`);
    expect(await at.database.overlayRows(9)).toMatchObject([{ key: ['1'], kind: 'update' }]);
  });

  const PARTED = [
    'CREATE TABLE m (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)',
    'CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (10)',
    'CREATE TABLE m2 PARTITION OF m FOR VALUES FROM (10) TO (20)',
  ];

  it.runIf(isPostgres).each([
    ['away', 'ALTER TABLE m DETACH PARTITION m2'],
    [
      'away for a while',
      'ALTER TABLE m DETACH PARTITION m2; DELETE FROM m2 WHERE id = 12; ALTER TABLE m ATTACH PARTITION m2 FOR VALUES FROM (10) TO (20)',
    ],
  ])('finds that a partition was %s', async (_, sql) => {
    const at = await anyRollout(engine, ...PARTED);
    await at.apply(at.step('m', ...['11', '12'].map((id) => put(['id'], { id, v: 'a' }))));
    expect(await at.database.watchCapture(at.fence)).toEqual([]);
    for (const one of sql.split('; ')) await at.rows(one);
    expect(await at.database.watchCapture(at.fence)).toEqual([{ schema: 'public', name: 'm' }]);
    expect(await at.database.watchCapture(at.fence)).toEqual([]);
    await using reader = await at.database.openBaseSnapshot();
    expect([...(await reader.notCaptured())]).toContain('public.m');
    // What was detached captures for nobody any more.
    await at.run('UPDATE m2 SET v = $$x$$ WHERE id = 11');
    expect((await at.database.overlayRows(9)).map(({ key }) => key)).toEqual(
      sql.includes('ATTACH PARTITION m2 FOR') ? [['11']] : [],
    );
  });

  it.runIf(isPostgres)('takes partitions with keys of their own for tables', async () => {
    const at = await anyRollout(
      engine,
      'CREATE TABLE k (id int, v text) PARTITION BY RANGE (id)',
      'CREATE TABLE k1 PARTITION OF k (PRIMARY KEY (id)) FOR VALUES FROM (0) TO (10)',
    );
    await at.apply(at.step('k1', put(['id'], { id: '1', v: 'a' })));
    expect(await at.database.watchCapture(at.fence)).toEqual([]);
    expect(await at.database.captureGaps()).toEqual([]);
  });

  it.runIf(isPostgres)('says once what it cannot make again', async () => {
    const at = await anyRollout(engine, T);
    for (const sql of ['CREATE TABLE t_new AS SELECT id FROM t', 'DROP TABLE t CASCADE']) {
      await at.rows(sql);
    }
    await at.rows('ALTER TABLE t_new RENAME TO t');
    expect(await at.database.watchCapture(at.fence)).toMatchObject([{ name: 't' }]);
    expect(await at.database.watchCapture(at.fence)).toEqual([]);
    await at.rows('ALTER TABLE t ADD PRIMARY KEY (id)');
    expect(await at.database.watchCapture(at.fence)).toMatchObject([{ name: 't' }]);
    expect(await at.database.watchCapture(at.fence)).toEqual([]);
  });

  it.runIf(isPostgres)('finds what a partition lost', async () => {
    const at = await anyRollout(engine, ...PARTED);
    expect(await at.database.watchCapture(at.fence)).toEqual([]);
    await at.rows('ALTER TABLE m2 DISABLE TRIGGER "!understudy_truncate"');
    expect(await at.database.watchCapture(at.fence)).toEqual([{ schema: 'public', name: 'm' }]);
    await at.run('INSERT INTO m VALUES (11, $$x$$)');
    await at.run('TRUNCATE m2');
    expect(await at.database.watchCapture(at.fence)).toEqual([]);
  });
});
