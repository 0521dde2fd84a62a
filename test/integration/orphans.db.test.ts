/** Rows that refer to none leave the list when somebody decides: they stay, or are production's again. */
import { describe, expect, it } from 'vitest';
import { gone, put } from './mysql.fixture.ts';
import { ALL_ENGINES, anyRollout, type AnyEngine } from './rollout.fixture.ts';

async function family(engine: AnyEngine) {
  const at = await anyRollout(
    engine,
    'CREATE TABLE p (id INT PRIMARY KEY, v VARCHAR(9))',
    'CREATE TABLE c (id INT PRIMARY KEY, p_id INT, v VARCHAR(9), CONSTRAINT to_p FOREIGN KEY (p_id) REFERENCES p (id))',
  );
  const parent = (id: string) => put(['id'], { id, v: 'a' });
  const child = (id: string, p: string) => put(['id'], { id, p_id: p, v: 'a' });
  await at.apply(at.step('p', parent('1'), parent('2')), at.step('c', child('21', '2')));
  // The candidate refers to what production deletes, and deletes what production refers to.
  await at.run(`INSERT INTO c VALUES (11, 1, 'mine')`);
  await at.apply(at.step('p', gone('1')));
  await at.run('DELETE FROM c WHERE id = 21');
  await at.run('DELETE FROM p WHERE id = 2');
  await at.apply(at.step('c', child('22', '2')));
  const listed = async (): Promise<readonly string[]> =>
    (await at.database.overlayConflicts(9))
      .filter(({ kind }) => kind === 'fk_orphan')
      .map(({ key, detail }) => `${key.join()} ${detail ?? ''}`);
  const resolve = (side: 'ours' | 'theirs' | 'merge', key?: string) =>
    at.database.resolveOverlay(
      at.fence,
      {
        ...(key !== undefined && { table: { schema: at.source, name: 'c' }, key: [key] }),
      },
      side,
    );
  expect(await listed()).toEqual(['11 to_p', '22 to_p']);
  return { ...at, child, listed, resolve };
}

describe.each(ALL_ENGINES)('rows that refer to none on %s', (engine) => {
  it('stay for whom they are right, until they refer to something else', async () => {
    const at = await family(engine);
    expect(await at.resolve('merge')).toEqual({ resolved: 0, kept: 2 });
    expect(await at.resolve('ours', '11')).toEqual({ resolved: 1, kept: 0 });
    expect(await at.listed()).toEqual(['22 to_p']);
    expect(await at.resolve('ours', '11')).toEqual({ resolved: 0, kept: 0 });
    expect(await at.rows('SELECT id, p_id FROM c ORDER BY id')).toEqual([
      [11, 1],
      [22, 2],
    ]);
    expect((await at.database.outcomes()).ours).toBe(1);
    // Production's row comes to refer to another that is not there.
    await at.resolve('ours');
    expect(await at.listed()).toEqual([]);
    await at.apply(at.step('p', put(['id'], { id: '3', v: 'a' })));
    await at.run('DELETE FROM p WHERE id = 3');
    await at.apply(at.step('c', at.child('22', '3')));
    expect(await at.listed()).toEqual(['22 to_p']);
  });

  it('become production’s again, and so does what they refer to', async () => {
    const at = await family(engine);
    expect(await at.resolve('theirs', '11')).toEqual({ resolved: 1, kept: 0 });
    expect(await at.rows('SELECT id FROM c ORDER BY id')).toEqual([[22]]);
    expect(await at.rows('SELECT id FROM p ORDER BY id')).toEqual([]);
    expect(await at.resolve('theirs')).toEqual({ resolved: 1, kept: 0 });
    expect(await at.listed()).toEqual([]);
    expect(await at.rows('SELECT id FROM p ORDER BY id')).toEqual([[2]]);
    expect(await at.rows('SELECT id FROM c ORDER BY id')).toEqual([[22]]);
  });
});
