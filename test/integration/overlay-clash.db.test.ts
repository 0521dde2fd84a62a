/** Batches whose rows exchange unique values, over rows that the candidate owns. */
import type pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { RowShape } from '../../src/change/value.ts';
import {
  applierSessionSql,
  applyBatch,
  openApplySession,
} from '../../src/dialect/postgres/apply/apply.ts';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import { installOverlay } from '../../src/dialect/postgres/overlay/capture.ts';
import type { NetChange } from '../../src/order/change-batch.ts';
import { createLedgers } from '../support/ledgers.ts';
import { batchOf } from '../support/overlay-applier.ts';
import { connectTo, testDatabase } from '../support/test-database.ts';

let candidate: pg.Client;
let applier: pg.Client;

beforeAll(async () => {
  const { url } = await testDatabase('clash');
  [candidate, applier] = [await connectTo(url), await connectTo(url)];
  await applier.query(applierSessionSql);
  await candidate.query(`CREATE TABLE seat (id int PRIMARY KEY, place int UNIQUE, note text);
    INSERT INTO seat VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')`);
  await createLedgers(candidate);
  await candidate.query('BEGIN');
  await installOverlay(candidate);
  await candidate.query('COMMIT');
});

afterAll(() => Promise.all([candidate.end(), applier.end()]));

const SHAPE = new RowShape(['id', 'place', 'note']);

function row(id: string, place: string, note: string): NetChange {
  const image = { shape: SHAPE, values: [id, place, note] };
  return { kind: 'upsert', key: [id], from: [id], complete: true, image };
}

it('moves production’s image of an owned row in a batch that had to be written a second time', async () => {
  await candidate.query(`UPDATE public.seat SET note = 'of the candidate' WHERE id = 3`);
  const session = await openApplySession(applier, await readCatalogue(applier));
  const changes = [row('1', '2', 'a'), row('2', '1', 'b'), row('3', '3', 'moved on')];
  const step = { kind: 'rows' as const, table: { schema: 'public', name: 'seat' }, changes };
  await applier.query('BEGIN');
  const outcome = await applyBatch(session, batchOf(step));
  await applier.query('COMMIT');
  expect(outcome.owned).toBe(1);
  const read = async (from: string): Promise<readonly unknown[]> =>
    (await candidate.query({ text: `SELECT * FROM ${from} ORDER BY id`, rowMode: 'array' })).rows;
  expect(await read('public__production.seat')).toEqual([
    [1, 2, 'a'],
    [2, 1, 'b'],
    [3, 3, 'moved on'],
  ]);
  expect((await read('public.seat')).at(-1)).toEqual([3, 3, 'of the candidate']);
});
