/** The port's waiting keys over a shadow database's acts. */
import type pg from 'pg';
import type { Fence } from '../../dialect.ts';
import type { Waiting } from '../../waiting.ts';
import type { ApplySession } from '../apply/apply.ts';
import { countWaiting } from '../overlay/waiting.ts';
import { writeWaiting } from '../overlay/write-waiting.ts';

export function pgWaiting(parts: {
  readonly read: <T>(doing: string, fn: (client: pg.Client) => Promise<T>) => Promise<T>;
  /** One fenced transaction, beside members. */
  readonly act: <T>(
    fence: Fence,
    doing: string,
    fn: (client: pg.Client) => Promise<T>,
  ) => Promise<T>;
  /** What an applier's session knows, opened in such a transaction. */
  readonly session: (client: pg.Client, fence: Fence) => Promise<ApplySession>;
}): Waiting {
  return {
    counts: () => parts.read('count what waits', countWaiting),
    write: (fence) =>
      parts.act(fence, 'write what waited', async (client) =>
        writeWaiting(await parts.session(client, fence)),
      ),
  };
}
