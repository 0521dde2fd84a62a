/** Dead letters by the command line, on a recording and a real server. */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { connect } from '../support/comparison.ts';
import { databaseUrl, startPostgres } from '../support/postgres.ts';
import { Workplace } from '../support/understudy.ts';

const SHOP = fileURLToPath(new URL('../../src/demo/', import.meta.url));

test('lists, shows and replays what the shadow refused', async () => {
  const server = await startPostgres();
  const workplace = await Workplace.make({});
  try {
    const schema = path.join(workplace.directory, 'schema.sql');
    const text = await readFile(path.join(SHOP, 'shop/schema.sql'), 'utf8');
    await writeFile(schema, `${text}\nALTER TABLE customers ADD CONSTRAINT odd CHECK (id <> 7);\n`);
    await workplace.configure({
      source: { topicPrefix: 'shop', recording: path.join(SHOP, 'assets/shop.recording') },
      shadow: { url: server.url },
      trunk: { name: 'shop', schema },
    });
    expect(await workplace.json(['materialize', '--until-caught-up'], 2)).toMatchObject({
      deadLetters: 1,
    });
    const [letter] = await workplace.json<{ id: string; keys: unknown }[]>([
      'dead-letters',
      'list',
    ]);
    expect(letter).toMatchObject({
      table: 'public.customers',
      keys: [['7']],
      code: 'APPLY_FAILED',
    });
    const id = letter?.id ?? '';
    const shown = await workplace.json<{ queue: string[] }>(['dead-letters', 'show', id]);
    expect(shown.queue[0]).toMatch(/^shop\.public\.customers\/\d+\/\d+$/);
    expect(await workplace.json(['dead-letters', 'replay'], 2)).toMatchObject({ left: [{ id }] });
    const client = await connect(databaseUrl(server.url, 'shop'));
    await client.query('ALTER TABLE customers DROP CONSTRAINT odd');
    expect((await client.query('SELECT FROM customers WHERE id = 7')).rowCount).toBe(0);
    expect(await workplace.json(['dead-letters', 'replay', id])).toEqual({
      replayed: [id],
      left: [],
    });
    expect((await client.query('SELECT FROM customers WHERE id = 7')).rowCount).toBe(1);
    await client.end();
    expect(await workplace.json(['dead-letters', 'list'])).toEqual([]);
    expect(await workplace.json(['dead-letters', 'show', id], 3)).toMatchObject({
      error: { code: 'DEAD_LETTER_NOT_FOUND' },
    });
  } finally {
    await workplace[Symbol.asyncDispose]();
    await server.stop();
  }
}, 120_000);
