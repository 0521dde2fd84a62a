import type pg from 'pg';
import { SHADOW_MIGRATIONS } from '../../src/dialect/postgres/shadow/schema-shadow.ts';

/** Our own tables, in a database of a test that has no marker. */
export async function createLedgers(client: pg.ClientBase): Promise<void> {
  await client.query(
    ['CREATE SCHEMA understudy', ...SHADOW_MIGRATIONS.map((step) => step.sql)].join(';\n'),
  );
}
