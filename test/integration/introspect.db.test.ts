import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { TableId } from '../../src/change/table-id.ts';
import { runPlan } from '../../src/dialect/postgres/apply-plan.ts';
import { planFromProduction } from '../../src/dialect/postgres/plan-from-production.ts';
import type { ShadowPlan } from '../../src/schema/shadow-plan.ts';
import { testDatabase, type TestDatabase } from '../support/test-database.ts';
import { NOT_CARRIED_SCHEMA, RICH_SCHEMA } from './introspect.fixture.ts';

async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

const planOf = (url: string, include?: (table: TableId) => boolean): Promise<ShadowPlan> =>
  withClient(url, (client) => planFromProduction(client, include));
const sqlOf = (plan: ShadowPlan): readonly string[] => plan.statements.map((one) => one.sql);
const whatOf = (plan: ShadowPlan): readonly string[] => plan.notCarried.map((one) => one.what);

describe('a plan made from the catalogue', () => {
  let production: TestDatabase;
  let shadow: TestDatabase;
  beforeAll(async () => {
    production = await testDatabase('production');
    shadow = await testDatabase('shadow');
    await withClient(production.url, (client) => client.query(RICH_SCHEMA));
  });

  test('makes the same catalogue again', async () => {
    const plan = await planOf(production.url);
    const { skipped } = await withClient(shadow.url, (client) => runPlan(client, plan));
    expect(skipped).toEqual([]);
    const again = await planOf(shadow.url);
    expect(sqlOf(again)).toEqual(sqlOf(plan));
    expect(plan.statements.length).toBeGreaterThan(100);
  });
});
