/** Errors of a candidate that production may not have given it are counted, also when it rolls back. */
import { expect, it } from 'vitest';
import { RowShape } from '../../src/change/value.ts';
import { possiblyOursOf } from '../../src/dialect/possibly-ours.ts';
import type { NetChange } from '../../src/order/change-batch.ts';
import { anyRollout, type AnyRollout } from './rollout.fixture.ts';

const put = (id: number, n: number): NetChange => ({
  ...{ kind: 'upsert', key: [String(id)], from: [String(id)], complete: true },
  image: { shape: new RowShape(['id', 'n']), values: [String(id), String(n)] },
});

async function counted(at: AnyRollout): Promise<Readonly<Record<string, number>>> {
  const { kinds = [], count } = (await possiblyOursOf(at.database)) ?? {};
  expect(count).toBe(kinds.reduce((sum, kind) => sum + kind.count, 0));
  const found: Record<string, number> = {};
  for (const kind of kinds) {
    if (kind.count > 0) found[kind.when.split(' ')[1] ?? ''] = kind.count;
  }
  return found;
}

it('on PostgreSQL, of capture above READ COMMITTED', async () => {
  const at = await anyRollout('postgresql', 'CREATE TABLE thing (id int PRIMARY KEY, n int)');
  await at.apply(at.step('thing', put(1, 0), put(2, 0)));
  const candidate = await at.session();
  const fails = async (level: string, meanwhile: () => Promise<unknown>, sql: string) => {
    await candidate(`BEGIN ISOLATION LEVEL ${level}`);
    await candidate('SELECT count(*) FROM thing');
    await meanwhile();
    const error: unknown = await candidate(sql).then(
      () => null,
      (why: unknown) => why,
    );
    await candidate('ROLLBACK');
    return (error as { readonly code?: string } | null)?.code ?? null;
  };
  const voided = (): Promise<void> =>
    at.run('INSERT INTO thing VALUES (9, 1); DELETE FROM thing WHERE id = 9');
  const made = 'INSERT INTO thing VALUES (9, 2)';
  expect(await fails('READ COMMITTED', voided, made)).toBe(null);
  await at.database.releaseOverlay(at.fence, {});
  expect(await counted(at)).toEqual({});
  // Production, which keeps no entry of it, would take it.
  expect(await fails('REPEATABLE READ', voided, made)).toBe('40001');
  expect(await counted(at)).toEqual({ an: 1 });
  const changed = (n: number) => () => at.apply(at.step('thing', put(1, n)));
  expect(await fails('READ COMMITTED', changed(1), 'TRUNCATE thing')).toBe(null);
  expect(await counted(at)).toEqual({ an: 1 });
  expect(await fails('REPEATABLE READ', changed(2), 'TRUNCATE thing')).toBe('40001');
  expect(await fails('SERIALIZABLE', changed(3), 'TRUNCATE thing')).toBe('40001');
  expect(await counted(at)).toEqual({ an: 1, TRUNCATE: 2 });
  // The statement itself, as in production: before any trigger fires.
  const native = 'UPDATE thing SET n = n + 1 WHERE id = 1';
  expect(await fails('REPEATABLE READ', changed(4), native)).toBe('40001');
  expect(await counted(at)).toEqual({ an: 1, TRUNCATE: 2 });
});
