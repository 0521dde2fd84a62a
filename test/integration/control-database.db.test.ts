import { expect, test } from 'vitest';
import { connectShadow } from '../../src/dialect/postgres/server.ts';
import { createDatabase, startPostgres } from '../support/postgres.ts';

test('the control database is made on demand, once, and never out of somebody else’s', async () => {
  // A server of its own: the database has one name on each server.
  const postgres = await startPostgres();
  try {
    await using server = await connectShadow(postgres.url);
    expect(await server.control({ create: false })).toBeNull();
    await createDatabase(postgres.url, 'understudy');
    await expect(server.control({ create: true })).rejects.toMatchObject({
      code: 'TARGET_NOT_OURS',
    });
  } finally {
    await postgres.stop();
  }
  const fresh = await startPostgres();
  try {
    await using server = await connectShadow(fresh.url);
    await using other = await connectShadow(fresh.url);
    const [one, two] = await Promise.all([
      server.control({ create: true }),
      other.control({ create: true }),
    ]);
    const id = await one.submitRequest('reset', 'shop', { table: 'item' });
    expect(await two.request(id)).toMatchObject({ state: 'open', args: { table: 'item' } });
    await using again = await server.control({ create: false });
    expect(await again?.request(id)).toMatchObject({ kind: 'reset' });
    await one[Symbol.asyncDispose]();
    await two[Symbol.asyncDispose]();
  } finally {
    await fresh.stop();
  }
});
