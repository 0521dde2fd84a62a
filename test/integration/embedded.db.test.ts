/** The server that `shadow: embedded` starts beside the configuration. */
import { chmod, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Workplace, type RunningCli } from '../support/understudy.ts';

const SHOP = fileURLToPath(new URL('../../src/demo/', import.meta.url));
const WITHIN = { timeout: 30_000, interval: 20 };

async function embeddedWorkplace(): Promise<Workplace> {
  const workplace = await Workplace.make({
    source: { topicPrefix: 'shop', recording: path.join(SHOP, 'assets/shop.recording') },
    shadow: 'embedded',
    trunk: { name: 'shop', schema: path.join(SHOP, 'shop/schema.sql') },
    apply: { leaseSeconds: 1 },
  });
  // Whatever a test leaves running ends with it: the folder goes away beneath it otherwise.
  onTestFinished(async () => {
    endIfAlive(await serverPid(workplace));
    await workplace[Symbol.asyncDispose]();
  });
  // Else root's server would keep its data elsewhere, where nobody removes it.
  await chmod(workplace.directory, 0o755);
  return workplace;
}

/** Of the postmaster that runs or died; null after an orderly end. */
async function serverPid(workplace: Workplace): Promise<number | null> {
  const file = path.join(workplace.directory, '.understudy/postgres/postmaster.pid');
  const text = await readFile(file, 'utf8').catch(() => null);
  return text === null ? null : Number(text.split('\n')[0]);
}

function endIfAlive(pid: number | null): void {
  try {
    if (pid !== null) process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function follow(workplace: Workplace): Promise<RunningCli> {
  const run = workplace.start(['run', '--only', 'trunk']);
  await expect.poll(() => run.stderr, WITHIN).toContain('"msg":"following"');
  return run;
}

interface Status {
  readonly databases: readonly { readonly state: string; readonly lag: { offsets: number } }[];
}

test('a server is not stopped under a command that came later and stays longer', async () => {
  const workplace = await embeddedWorkplace();
  const first = await follow(workplace);
  const pid = await serverPid(workplace);
  const second = workplace.start(['run', '--only', 'trunk']);
  await expect.poll(() => second.stderr, WITHIN).toContain('"msg":"standing-by"');
  first.kill('SIGTERM');
  expect(await first.ended).toMatchObject({ status: 0 });
  await expect.poll(() => second.stderr, WITHIN).toContain('"msg":"following"');
  await workplace.json(['status']);
  expect(await serverPid(workplace)).toBe(pid);
  second.kill('SIGTERM');
  expect(await second.ended).toMatchObject({ status: 0 });
  expect(await serverPid(workplace)).toBeNull();
  // The last one stopped it; the next one starts it again, with all that is in it.
  const { databases } = await workplace.json<Status>(['status']);
  expect(databases).toMatchObject([{ state: 'stopped' }]);
}, 120_000);

describe('after kill -9', () => {
  test('of its only user, the server is adopted, and stopped by who adopted it', async () => {
    const workplace = await embeddedWorkplace();
    const first = await follow(workplace);
    const pid = await serverPid(workplace);
    first.kill('SIGKILL');
    await first.ended;
    expect(await serverPid(workplace)).toBe(pid);
    const second = await follow(workplace);
    expect(await serverPid(workplace)).toBe(pid);
    second.kill('SIGTERM');
    expect(await second.ended).toMatchObject({ status: 0 });
    expect(await serverPid(workplace)).toBeNull();
  }, 120_000);

  test('of the server, it is started again with everything that was committed', async () => {
    const workplace = await embeddedWorkplace();
    await workplace.json(['materialize', '--until-caught-up']);
    const first = await follow(workplace);
    const pid = await serverPid(workplace);
    first.kill('SIGKILL');
    await first.ended;
    process.kill(pid ?? Number.NaN, 'SIGKILL');
    // What it wrote of itself is still there, and wrong.
    expect(await serverPid(workplace)).toBe(pid);
    const { databases } = await workplace.json<Status>(['status']);
    expect(databases).toMatchObject([{ lag: { offsets: 0 } }]);
    expect(await serverPid(workplace)).toBeNull();
  }, 120_000);

  test('in the middle of the first start, the next one succeeds', async () => {
    const workplace = await embeddedWorkplace();
    const home = path.join(workplace.directory, '.understudy');
    const there = async (name: string): Promise<boolean> =>
      (await readdir(home).catch(() => [])).some((file) => file.startsWith(name));
    const making = workplace.start(['status']);
    await expect.poll(() => there('postgres'), WITHIN).toBe(true);
    making.kill('SIGKILL');
    await making.ended;
    const starting = workplace.start(['status']);
    await expect.poll(() => serverPid(workplace), WITHIN).not.toBeNull();
    starting.kill('SIGKILL');
    await starting.ended;
    expect(await workplace.json<Status>(['status'])).toMatchObject({ databases: [] });
    expect(await serverPid(workplace)).toBeNull();
  }, 120_000);
});
