/** Rows that are named by trace or key, of every act that takes them; COPY as a candidate's writes; views by key. */
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { describe, expect, it } from 'vitest';
import { put } from './mysql.fixture.ts';
import { ALL_ENGINES, anyRollout, type AnyEngine, type AnyRollout } from './rollout.fixture.ts';

const T = 'CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9), w INT)';

const row = (at: AnyRollout, id: string, v: string, w = '0') =>
  at.step('t', put(['id'], { id, v, w }));

/** Production has rows 1 to 4; the candidate wrote 1 and 2 in one request, 3 and 4 in another. */
async function scene(engine: AnyEngine): Promise<AnyRollout> {
  const at = await anyRollout(engine, T);
  for (const id of ['1', '2', '3', '4']) await at.apply(row(at, id, 'theirs'));
  const candidate = await at.session();
  const as = (trace: string): string =>
    engine === 'postgresql'
      ? `SET understudy.trace = '${trace}'`
      : `SET @understudy_trace = '${trace}'`;
  await candidate(as('one'));
  await candidate(`UPDATE t SET v = 'ours' WHERE id <= 2`);
  await candidate(as('two'));
  await candidate(`UPDATE t SET v = 'ours' WHERE id > 2`);
  return at;
}

const keys = (found: readonly { readonly key: readonly string[] }[]): readonly string[] =>
  found.map(({ key }) => key.join('/')).toSorted();

describe.each(ALL_ENGINES)('rows of %s', (engine) => {
  it('are released by trace and by key', async () => {
    const at = await scene(engine);
    await at.run(`UPDATE t SET v = 'theirs'`);
    const owned = async (): Promise<readonly number[]> =>
      (await at.database.overlayCounts())
        .filter((count) => count.table.name === 't')
        .map(({ equal }) => equal);
    expect(await owned()).toEqual([4]);
    expect(await at.database.releaseOverlay(at.fence, { trace: 'one' })).toEqual({
      ...{ released: 2, kept: 0 },
    });
    expect(await owned()).toEqual([2]);
    const table = { schema: at.source, name: 't' };
    expect(await at.database.releaseOverlay(at.fence, { table, key: ['3'] })).toEqual({
      ...{ released: 1, kept: 0 },
    });
    expect(await owned()).toEqual([1]);
  });

  it('are listed, and their conflicts resolved, by trace and by key', async () => {
    const at = await scene(engine);
    for (const id of ['1', '2', '3', '4']) await at.apply(row(at, id, 'newer'));
    const table = { schema: at.source, name: 't' };
    const conflicts = async (only = {}): Promise<readonly string[]> =>
      keys(await at.database.overlayConflicts(9, only));
    expect(await conflicts()).toEqual(['1', '2', '3', '4']);
    expect(await conflicts({ trace: 'two' })).toEqual(['3', '4']);
    expect(await conflicts({ table, key: ['3'] })).toEqual(['3']);
    expect(keys(await at.database.overlayRows(9, { table, key: ['2'] }))).toEqual(['2']);
    expect(await at.database.resolveOverlay(at.fence, { trace: 'two' }, 'theirs')).toEqual({
      ...{ resolved: 2, kept: 0 },
    });
    expect(await conflicts()).toEqual(['1', '2']);
    expect(await at.database.resolveOverlay(at.fence, { table, key: ['1'] }, 'ours')).toEqual({
      ...{ resolved: 1, kept: 0 },
    });
    expect(await conflicts()).toEqual(['2']);
    expect(await at.rows('SELECT id, v FROM t ORDER BY id')).toEqual([
      ...[
        [1, 'ours'],
        [2, 'ours'],
        [3, 'newer'],
        [4, 'newer'],
      ],
    ]);
  });
});

it.each(ALL_ENGINES)(
  'a chain of rows that are in each other’s way is taken back on %s',
  async (engine) => {
    const at = await anyRollout(engine, 'CREATE TABLE t (id INT PRIMARY KEY, n INT UNIQUE)');
    const numbered = (id: number, n: number) =>
      at.step('t', put(['id'], { id: String(id), n: String(n) }));
    const ids = [1, 2, 3, 4, 5];
    for (const id of ids) await at.apply(numbered(id, id));
    // Each has the number that production gave to the one before.
    await at.run('UPDATE t SET n = 100 WHERE id = 1');
    for (const id of [2, 3, 4])
      await at.run(`UPDATE t SET n = ${String(id - 1)} WHERE id = ${String(id)}`);
    await at.apply(numbered(9, 100));
    const table = { schema: at.source, name: 't' };
    expect(await at.database.resolveOverlay(at.fence, { table, key: ['9'] }, 'theirs')).toEqual({
      ...{ resolved: 1, kept: 0 },
    });
    expect(await at.rows('SELECT id, n FROM t ORDER BY id')).toEqual([
      ...ids.map((id) => [id, id]),
      [9, 100],
    ]);
    expect(await at.database.overlayRows(9)).toEqual([]);
  },
);

it('COPY is captured on PostgreSQL, as it is of what is taken back', async () => {
  const at = await anyRollout('postgresql', T);
  await at.apply(row(at, '1', 'theirs'));
  const candidate = new pg.Client({ connectionString: at.url });
  await candidate.connect();
  try {
    const copy = async (lines: string): Promise<void> => {
      const into = candidate.query(copyFrom('COPY t FROM STDIN'));
      await pipeline(Readable.from([lines]), into);
    };
    await copy('7\tseven\t1\n8\teight\t2\n');
    await candidate.query('BEGIN');
    await copy('9\tnine\t3\n');
    await candidate.query('ROLLBACK');
    await expect(copy('10\tten\t1\n1\tclash\t2\n')).rejects.toMatchObject({ code: '23505' });
  } finally {
    await candidate.end();
  }
  expect(
    (await at.database.overlayRows(9)).map(({ key, kind }) => `${key.join()} ${kind}`).toSorted(),
  ).toEqual(['7 insert', '8 insert']);
  expect(await at.production('t', 'id, v')).toEqual([[1, 'theirs']]);
});

it('views are read by key on PostgreSQL, and not whole', async () => {
  const at = await anyRollout('postgresql', T);
  await at.rows(`INSERT INTO t SELECT i, 'x', i FROM generate_series(1, 20000) i`);
  await at.run('UPDATE t SET w = -w WHERE id <= 5000');
  await at.rows('ANALYZE');
  for (const view of ['production', 'difference']) {
    const found = await at.rows(
      `EXPLAIN (FORMAT JSON) SELECT * FROM public__${view}.t WHERE id = 4711`,
    );
    const plan = JSON.stringify(found);
    expect(plan, view).toContain('Index');
    // Nothing of the table or its journal is read from end to end.
    const whole = [...plan.matchAll(/"Node Type":"Seq Scan"[^}]*?"Relation Name":"([^"]+)"/g)];
    expect(
      whole.map(([, name]) => name).filter((name) => /^t$|#journal$/.test(name ?? '')),
      view,
    ).toEqual([]);
  }
});
