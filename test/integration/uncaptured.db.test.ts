/** Tables without a key in a rollout: what the candidate writes there is not told from production's rows. */
import { expect, it } from 'vitest';
import type { ShadowDatabase } from '../../src/dialect/dialect.ts';
import { connectShadow } from '../../src/dialect/postgres/shadow/server.ts';
import { compareTables, DEFAULT_LIMITS } from '../../src/drift/compare.ts';
import { readerReference } from '../../src/drift/reference.ts';
import { judge, type Judgement } from '../../src/drift/verdict.ts';
import { databaseUrl } from '../support/postgres.ts';
import { ENGINES, overlaidRollout, stageOf } from './mysql.fixture.ts';
import { postgresUrl } from '../support/test-database.ts';
import { freshName, freshTrunk, session } from './shadow.fixture.ts';

async function compared(trunk: ShadowDatabase, rollout: ShadowDatabase): Promise<Judgement> {
  await using theirs = await trunk.openBaseSnapshot();
  await using ours = await rollout.openBaseSnapshot();
  const comparison = await compareTables(await readerReference(theirs), ours, {
    ...{ include: () => true, strictSchema: false, showValues: false, limits: DEFAULT_LIMITS },
    signal: new AbortController().signal,
  });
  return judge(comparison.tables, comparison.general);
}

const KEYED = 'CREATE TABLE kept (id INT PRIMARY KEY, v INT)';
const KEYLESS = 'CREATE TABLE loose (v INT)';

/** Of a rollout that is its trunk; then of what the candidate wrote, one after another. */
async function judged(
  trunk: ShadowDatabase,
  rollout: ShadowDatabase,
  write: (sql: string) => Promise<unknown>,
): Promise<readonly Judgement[]> {
  const judgements = [await compared(trunk, rollout)];
  for (const sql of [
    'INSERT INTO kept VALUES (2, 2)',
    'INSERT INTO loose VALUES (1)',
    'DELETE FROM loose WHERE v = 1',
  ]) {
    await write(sql);
    judgements.push(await compared(trunk, rollout));
  }
  return judgements;
}

const EQUAL = { verdict: 'equal', reasons: [] };
const DOUBT = {
  verdict: 'inconclusive',
  reasons: [{ code: 'rows-not-captured', message: expect.stringMatching(/^1 extra; /) as string }],
};
const EXPECTED = [EQUAL, EQUAL, DOUBT, EQUAL];

it.each(ENGINES)('a check of a rollout of %s accuses nobody of them', async (engine) => {
  const stage = await stageOf(engine, KEYED, KEYLESS);
  await stage.client.query('INSERT INTO loose VALUES (7), (7)');
  await stage.client.query('INSERT INTO kept VALUES (1, 1)');
  const at = await overlaidRollout(stage);
  const write = (sql: string): Promise<unknown> => at.candidate.query(sql);
  expect(await judged(stage.database, at.database, write)).toMatchObject(EXPECTED);
});

it('a check of a rollout of PostgreSQL accuses nobody of them', async () => {
  await using server = await connectShadow(postgresUrl());
  const { name, url } = await freshTrunk();
  const trunk = await session(url);
  for (const sql of [KEYED, KEYLESS, 'INSERT INTO loose VALUES (7), (7)']) await trunk.query(sql);
  await trunk.end();
  const to = freshName('copy');
  await server.clone({ from: name, to, rolloutName: 'next' });
  await using source = await server.open(name);
  await using copy = await server.open(to);
  const fence = await copy?.takeFence('test');
  if (source === null || copy === null || fence === null || fence === undefined) {
    throw new Error('there is none');
  }
  await copy.installOverlay(fence);
  const candidate = await session(databaseUrl(postgresUrl(), to));
  const write = (sql: string): Promise<unknown> => candidate.query(sql);
  expect(await judged(source, copy, write)).toMatchObject(EXPECTED);
});
