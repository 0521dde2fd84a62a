/**
 * An idle transaction of the candidate stalls its own keys only: these wait, in order, and production's image is
 * exact for them meanwhile.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { CarriedChange } from '../../src/dialect/evolving.ts';
import type { NetChange } from '../../src/order/change-batch.ts';
import { batchOf } from './mysql.fixture.ts';
import { anyRollout } from './rollout.fixture.ts';
import {
  begin,
  owned,
  PATCH,
  Production,
  reopened,
  TABLE,
  visible,
  type Row,
} from './waiting.fixture.ts';

const ENGINES = ['postgresql'] as const;

describe.each(ENGINES)('on %s', (engine) => {
  it.each(['COMMIT', 'ROLLBACK'] as const)(
    'an idle transaction stalls its own keys only, until its %s',
    async (end) => {
      const at = await anyRollout(engine, TABLE);
      const production = await begin(at);
      const candidate = await at.session();
      await candidate('BEGIN');
      await candidate(`UPDATE thing SET name = 'mine' WHERE id = 1`);
      await candidate(`INSERT INTO thing VALUES (500, 7, 'mine')`);
      await candidate('DELETE FROM thing WHERE id = 3');
      const until = performance.now() + 5_000;
      for (let round = 1; performance.now() < until; round += 1) {
        const others = Array.from({ length: 20 }, (_, i) => 10 + ((round * 7 + i) % 80));
        await production.apply(
          production.put(1, round, `theirs${String(round)}`),
          production.put(500, round, `new${String(round)}`),
          production.patch(3, round),
          ...others.map((id) => production.patch(id, round)),
        );
        await production.check();
        // In vain; each second is often enough.
        if (round % 10 === 0) await production.settle();
        expect(await production.waits()).toBe(3);
        await pause(50);
      }
      const [first = 0, ...rest] = production.tookMs.slice(1);
      expect(first).toBeLessThan(4_000);
      // Flat: no batch waits for a lock again.
      expect(rest.toSorted((a, b) => b - a)[1]).toBeLessThan(500);
      expect(rest.length).toBeGreaterThan(20);
      await candidate(end);
      expect(await production.settle()).toBe(0);
      expect(await production.waits()).toBe(0);
      await production.check();
      const seen = new Map<number, Row>(production.rows);
      if (end === 'COMMIT') {
        seen.set(1, [1, 0, 'mine']);
        seen.set(500, [500, 7, 'mine']);
        seen.delete(3);
      }
      expect(await visible(at)).toEqual([...seen.values()].toSorted(([a], [b]) => a - b));
      // A key that waited follows as any does.
      await production.apply(production.gone(1), production.put(3, 1, 'again'));
      await production.check();
      expect(await production.waits()).toBe(0);
    },
  );

  it('later changes of a key that waits follow it there, also across a restart', async () => {
    const at = await anyRollout(engine, TABLE);
    const production = await begin(at, 20);
    const candidate = await at.session();
    await candidate('BEGIN');
    await candidate(`UPDATE thing SET name = 'mine' WHERE id IN (1, 2, 3, 4, 5, 6)`);
    await candidate(`INSERT INTO thing VALUES (500, 7, 'mine')`);
    const first = [1, 2, 3, 4, 5, 6].map((id) => production.put(id, 1, `waits${String(id)}`));
    await production.apply(...first, production.put(500, 1, 'waits500'));
    expect(await production.waits()).toBe(7);
    // Completed from what waits.
    await production.apply(production.patch(1, 2), production.gone(2), production.gone(500));
    await production.check();
    // Inserted anew; a key that waits changes into another one, and another one into one that waits.
    const moved = production.patch(201, 3, 3);
    await production.apply(production.put(2, 3, 'anew'), production.gone(3), moved);
    const into = production.patch(500, 3, 10);
    await production.apply(production.gone(10), into);
    await production.check();
    expect(production.rows.get(201)).toEqual([201, 3, 'waits3']);
    expect(await production.waits()).toBe(7);
    await at.database.releaseFence(at.fence);
    const again = await reopened(at);
    production.follow(again);
    await production.apply(production.patch(4, 4), production.gone(5), production.patch(11, 4));
    await production.check();
    expect(await production.waits()).toBe(7);
    await candidate('ROLLBACK');
    // Of one that may be written again, what waits is written first, or it follows there.
    await production.apply(production.patch(6, 5), production.patch(4, 5));
    await production.check();
    expect(await production.settle()).toBe(0);
    await production.check();
    expect(await visible(at)).toEqual(await at.production('thing', 'id, n, name'));
    expect(await owned(at)).toBe(0);
  });

  it('a truncate of production’s takes along what waits, and stalls nothing', async () => {
    const at = await anyRollout(engine, TABLE, 'CREATE TABLE other (id int PRIMARY KEY, n int)');
    const production = await begin(at, 30);
    const candidate = await at.session();
    await candidate('BEGIN');
    await candidate(`UPDATE thing SET name = 'mine' WHERE id IN (1, 2)`);
    await candidate('DELETE FROM thing WHERE id = 3');
    await production.apply(...[1, 3, 4].map((id) => production.put(id, 1, 'waits')));
    expect(await production.waits()).toBe(2);
    production.rows.clear();
    const emptied = { kind: 'truncate', table: { schema: at.source, name: 'thing' } } as const;
    await production.steps(
      emptied,
      at.step('thing', production.put(2, 9, 'new'), production.put(40, 9, 'new')),
    );
    await production.check();
    expect(await production.waits()).toBe(3);
    await candidate('COMMIT');
    expect(await production.settle()).toBe(0);
    await production.check();
    expect(await visible(at)).toEqual([
      [1, 0, 'mine'],
      [2, 0, 'mine'],
      [40, 9, 'new'],
    ]);
    // Nobody is at it: it takes along what waits of it.
    await candidate('BEGIN');
    await candidate(`UPDATE thing SET name = 'mine' WHERE id = 40`);
    await production.apply(production.put(40, 10, 'waits'));
    await candidate('ROLLBACK');
    production.rows.clear();
    await production.steps(emptied);
    expect(await production.waits()).toBe(0);
    await production.check();
  });

  it('acts of a person count what waits as production’s', async () => {
    const at = await anyRollout(engine, TABLE);
    const production = await begin(at, 10);
    await at.run(`UPDATE thing SET name = 'mine' WHERE id = 1`);
    const candidate = await at.session();
    await candidate('BEGIN');
    await candidate(`DELETE FROM thing WHERE id = 1`);
    await candidate(`INSERT INTO thing VALUES (1, 0, 'mine again')`);
    await candidate(`UPDATE thing SET n = 5 WHERE id = 2`);
    await production.apply(production.put(1, 7, 'theirs'), production.put(2, 7, 'theirs'));
    expect(await production.waits()).toBe(2);
    const [row] = await at.database.overlayRows(10);
    expect(row).toMatchObject({ key: ['1'], kind: 'update' });
    expect(row?.columns).toContainEqual({ column: 'n', production: '7', candidate: '0' });
    expect(
      await at.rows(`SELECT id, n, n__production FROM public__difference.thing ORDER BY id`),
    ).toEqual([[1, 0, 7]]);
    // Rows that the candidate is at cannot be put back, as ever.
    await expect(at.database.resetOverlay(at.fence, {})).rejects.toMatchObject({
      code: 'APPLY_BLOCKED',
    });
    await candidate('COMMIT');
    // With what waits, which nobody wrote yet.
    expect(await at.database.resetOverlay(at.fence, {})).toBe(2);
    expect(await production.waits()).toBe(0);
    await production.check();
    expect(await visible(at)).toEqual(await at.production('thing', 'id, n, name'));
  });

  it('parts of a large transaction make keys wait, too', async () => {
    const at = await anyRollout(engine, TABLE);
    const production = await begin(at, 10);
    const candidate = await at.session();
    await candidate('BEGIN');
    await candidate(`UPDATE thing SET name = 'mine' WHERE id = 1`);
    await production.together(
      [production.patch(1, 1), production.patch(2, 1)],
      [production.patch(1, 2), production.patch(3, 2)],
    );
    await production.check();
    expect(await production.waits()).toBe(1);
    await candidate('ROLLBACK');
    expect(await production.settle()).toBe(0);
    await production.check();
    expect(await visible(at)).toEqual(await at.production('thing', 'id, n, name'));
  });

  it('a table whose key is checked late waits as a whole, and others do not', async () => {
    const late = 'CREATE TABLE late (id int PRIMARY KEY DEFERRABLE, n int)';
    const at = await anyRollout(engine, TABLE, late);
    const production = await begin(at, 10);
    const put = (id: number, n: number): NetChange => ({
      ...{ kind: 'upsert', key: [String(id)], from: [String(id)], complete: true },
      image: { shape: PATCH, values: [String(id), String(n)] },
    });
    await at.apply(at.step('late', put(1, 0), put(2, 0)));
    const candidate = await at.session();
    await candidate('BEGIN');
    await candidate(`UPDATE late SET n = 5 WHERE id = 1`);
    await production.steps(
      at.step('late', put(1, 1), put(2, 1)),
      at.step('thing', production.put(1, 1, 'flows')),
    );
    await production.check();
    expect(await at.production('late', 'id, n')).toEqual([
      [1, 1],
      [2, 1],
    ]);
    expect(await production.waits()).toBe(2);
    await candidate('COMMIT');
    expect(await production.settle()).toBe(0);
    expect(await at.rows('SELECT id, n FROM late ORDER BY id')).toEqual([
      [1, 5],
      [2, 1],
    ]);
  });

  it('a key waits under each of its spellings', async () => {
    const at = await anyRollout(engine, 'CREATE TABLE spelled (id numeric PRIMARY KEY, n int)');
    const production = new Production(at);
    const put = (id: string, n: number): NetChange => ({
      ...{ kind: 'upsert', key: [id], from: [id], complete: true },
      image: { shape: PATCH, values: [id, String(n)] },
    });
    await at.apply(at.step('spelled', put('1', 0), put('2', 0)));
    const candidate = await at.session();
    await candidate('BEGIN');
    await candidate(`UPDATE spelled SET n = 5 WHERE id = 1`);
    await production.steps(at.step('spelled', put('1.0', 1)));
    await production.steps(at.step('spelled', put('1.00', 2), put('2.0', 2)));
    expect(await production.waits()).toBe(1);
    const image = [
      ['1.00', 2],
      ['2.0', 2],
    ];
    expect(await at.production('spelled', 'id::text, n')).toEqual(image);
    await candidate('ROLLBACK');
    expect(await production.settle()).toBe(0);
    expect(await at.rows('SELECT id::text, n FROM spelled ORDER BY 1')).toEqual(image);
  });

  it('a prepared transaction stalls its own keys only', async () => {
    const at = await anyRollout(engine, TABLE);
    const production = await begin(at, 10);
    const candidate = await at.session();
    const gid = `waits_${at.name}`;
    await candidate('BEGIN');
    await candidate(`UPDATE thing SET name = 'mine' WHERE id = 1`);
    await candidate(`INSERT INTO thing VALUES (500, 7, 'mine')`);
    await candidate(`PREPARE TRANSACTION '${gid}'`);
    await production.apply(...[1, 2, 500].map((id) => production.put(id, 1, 'theirs')));
    await production.check();
    expect(await production.waits()).toBe(2);
    await candidate(`COMMIT PREPARED '${gid}'`);
    expect(await production.settle()).toBe(0);
    await production.check();
    expect(await at.rows(`SELECT id FROM thing WHERE name = 'mine' ORDER BY 1`)).toEqual([
      [1],
      [500],
    ]);
  });

  it('what waits is written before the candidate migrates', async () => {
    const at = await anyRollout(engine, TABLE);
    const production = await begin(at, 10);
    const candidate = await at.session();
    await candidate('BEGIN');
    await candidate(`UPDATE thing SET name = 'mine' WHERE id = 1`);
    await production.apply(production.put(1, 1, 'theirs'));
    const { migrations } = at.database;
    await expect(migrations.begin(at.fence, { role: at.role, renames: [] })).rejects.toMatchObject({
      code: 'APPLY_BLOCKED',
    });
    await candidate('ROLLBACK');
    await migrations.begin(at.fence, { role: at.role, renames: [] });
    await migrations.end(at.fence);
    expect(await production.waits()).toBe(0);
    await production.check();
    expect(await owned(at)).toBe(0);
    await candidate('BEGIN');
    await candidate(`UPDATE thing SET name = 'mine' WHERE id = 1`);
    await production.apply(production.put(1, 2, 'theirs'));
    await production.check();
    expect(await production.waits()).toBe(1);
  });

  it('what waits is written before production’s change of the schema is carried', async () => {
    const at = await anyRollout(engine, TABLE);
    const production = await begin(at, 10);
    const candidate = await at.session();
    await candidate('BEGIN');
    await candidate(`UPDATE thing SET name = 'mine' WHERE id = 1`);
    await production.apply(production.put(1, 1, 'theirs'));
    expect(await production.waits()).toBe(1);
    const table = { schema: at.source, name: 'thing' };
    const add = (relation: string): string => `ALTER TABLE ${relation} ADD COLUMN late int`;
    const type = { kind: 'int32', sql: 'integer' } as const;
    const late = { name: 'late', type, nullable: true, generated: 'no', identity: 'no' } as const;
    const change = { kind: 'add', table, column: { ...late, toastable: false } } as unknown;
    const carried = {
      change: change as CarriedChange['change'],
      statements: [{ sql: add('public.thing'), what: 'table public.thing', optional: false }],
      beside: (relation: string) => [add(relation)],
    } as CarriedChange;
    await expect(at.database.evolving.carry(at.fence, [carried])).rejects.toMatchObject({
      code: 'APPLY_BLOCKED',
    });
    await production.check();
    await candidate('COMMIT');
    await at.database.evolving.carry(at.fence, [carried]);
    expect(await production.waits()).toBe(0);
    await production.check();
    await candidate('BEGIN');
    await candidate(`UPDATE thing SET late = 5 WHERE id = 2`);
    await production.apply(production.put(2, 1, 'theirs'));
    expect(await production.waits()).toBe(1);
    expect(await at.production('thing', 'id, n, name, late')).toContainEqual([
      2,
      1,
      'theirs',
      null,
    ]);
  });

  it('a table that is locked as a whole stalls no other', async () => {
    const at = await anyRollout(engine, TABLE, 'CREATE TABLE other (id int PRIMARY KEY, n int)');
    const production = await begin(at, 10);
    const put = (id: number, n: number): NetChange => ({
      ...{ kind: 'upsert', key: [String(id)], from: [String(id)], complete: true },
      image: { shape: PATCH, values: [String(id), String(n)] },
    });
    await at.apply(at.step('other', put(1, 0), put(2, 0)));
    const candidate = await at.session();
    await candidate('BEGIN');
    await candidate('TRUNCATE other');
    await production.steps(
      at.step('other', put(1, 1), put(3, 1)),
      at.step('thing', production.put(1, 1, 'flows')),
    );
    await production.check();
    expect(await production.waits()).toBe(2);
    await candidate('COMMIT');
    expect(await production.settle()).toBe(0);
    expect(await at.production('other', 'id, n')).toEqual([
      [1, 1],
      [2, 0],
      [3, 1],
    ]);
    expect(await at.rows('SELECT id, n FROM other')).toEqual([[3, 1]]);
  });

  it('keys wait in a rollout that an older version made', async () => {
    const at = await anyRollout(engine, TABLE);
    const production = await begin(at, 10);
    await at.rows(`CREATE OR REPLACE VIEW public__production.thing AS
        SELECT t.id, t.n, t.name FROM ONLY public.thing t
          WHERE NOT EXISTS (SELECT FROM understudy."public.thing#journal" j WHERE j.id = t.id)
        UNION ALL SELECT j.id, j.n, j.name FROM understudy."public.thing#journal" j
          WHERE j.understudy_present`);
    await at.rows('DROP VIEW public__difference.thing');
    await at.rows('DROP TABLE understudy."public.thing#waiting"');
    const candidate = await at.session();
    await candidate('BEGIN');
    await candidate(`UPDATE thing SET name = 'mine' WHERE id = 1`);
    await production.apply(production.put(1, 1, 'theirs'), production.put(2, 1, 'theirs'));
    await production.check();
    expect(await production.waits()).toBe(1);
    await candidate('COMMIT');
    expect(await production.settle()).toBe(0);
    await production.check();
    expect(await at.rows('SELECT id, n FROM public__difference.thing')).toEqual([[1, 0]]);
  });

  it('what is set aside of a key that waits is completed from there, and replayed behind it', async () => {
    const at = await anyRollout(engine, TABLE);
    const production = await begin(at, 5);
    const candidate = await at.session();
    await candidate('BEGIN');
    await candidate(`UPDATE thing SET name = 'mine' WHERE id = 1`);
    await production.apply(production.put(1, 1, 'waits'));
    expect(await production.waits()).toBe(1);
    const change = production.patch(1, 2);
    const [step] = [at.step('thing', change)];
    if (step.kind !== 'rows') throw new Error('it writes rows');
    const images = [{ letter: 'aside', table: step.table, steps: [step] }];
    await at.database.apply(at.fence, { ...batchOf([]), images });
    await production.check();
    expect(await production.waits()).toBe(1);
    await candidate('ROLLBACK');
    expect(await production.settle()).toBe(0);
    await production.check();
    expect(await visible(at)).toContainEqual([1, 1, 'waits']);
    await at.rows(`DELETE FROM understudy."public.thing#image"`);
    await production.apply(change);
    await production.check();
  });
});
