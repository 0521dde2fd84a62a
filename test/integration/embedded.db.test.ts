/** The server that `shadow: embedded` starts beside the configuration. */
import { chmod } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { Workplace } from '../support/understudy.ts';

const SHOP = fileURLToPath(new URL('../../src/demo/', import.meta.url));

test('a server is not stopped under a command that came later and stays longer', async () => {
  const workplace = await Workplace.make({
    source: { topicPrefix: 'shop', recording: path.join(SHOP, 'assets/shop.recording') },
    shadow: 'embedded',
    trunk: { name: 'shop', schema: path.join(SHOP, 'shop/schema.sql') },
  });
  onTestFinished(() => workplace[Symbol.asyncDispose]());
  // Else root's server would keep its data elsewhere, where nobody removes it.
  await chmod(workplace.directory, 0o755);
  const first = workplace.start(['run', '--only', 'trunk']);
  await expect.poll(() => first.stderr, { timeout: 30_000 }).toContain('"msg":"following"');
  const second = workplace.start(['run', '--only', 'trunk']);
  await expect.poll(() => second.stderr, { timeout: 30_000 }).toContain('"msg":"standing-by"');
  first.kill('SIGTERM');
  expect(await first.ended).toMatchObject({ status: 0 });
  await expect.poll(() => second.stderr, { timeout: 30_000 }).toContain('"msg":"following"');
  await workplace.json(['status']);
  second.kill('SIGTERM');
  expect(await second.ended).toMatchObject({ status: 0 });
  // The last one stopped it; the next one starts it again, with all that is in it.
  const { databases } = await workplace.json<{ databases: { state: string }[] }>(['status']);
  expect(databases).toMatchObject([{ state: 'stopped' }]);
}, 120_000);
