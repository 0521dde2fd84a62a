import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { BUILT_MAIN, Workplace } from '../../support/understudy.ts';

let building: Promise<unknown> | null = null;

/**
 * Runs `work` beside the real process, `understudy run`, built as users have it. Rejects if that ends
 * meanwhile.
 */
export async function besideRun<T>(config: object, work: (pid: number) => Promise<T>): Promise<T> {
  building ??= promisify(execFile)('npm', ['run', 'build']);
  await building;
  await using workplace = await Workplace.make(config, BUILT_MAIN);
  const running = workplace.start(['run']);
  const early = running.ended.then(({ stderr }) => {
    throw new Error(`understudy run has ended: ${stderr}`);
  });
  try {
    return await Promise.race([work(running.process.pid ?? 0), early]);
  } finally {
    early.catch(() => undefined);
    running.kill('SIGTERM');
    await running.ended;
  }
}
