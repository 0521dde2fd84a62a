/** The port's waiting keys over a shadow database's acts. */
import type { Fence } from '../../fence.ts';
import type { Waiting } from '../../waiting.ts';
import type { ApplySession } from '../apply/apply.ts';
import { countWaiting } from '../overlay/waiting.ts';
import { settleWaiting, writeWaiting } from '../overlay/write-waiting.ts';
import type { Client } from '../session/client.ts';

export function mysqlWaiting(parts: {
  readonly database: string;
  /** Name of the followed database in production. */
  readonly source: string;
  readonly read: <T>(doing: string, fn: (client: Client) => Promise<T>) => Promise<T>;
  /** One transaction, of who holds the fence or shares it: of a key that others write they wait where it waits. */
  readonly act: <T>(
    fence: Fence,
    doing: string,
    fn: (session: ApplySession) => Promise<T>,
  ) => Promise<T>;
}): {
  readonly waiting: Waiting;
  /** Writes all that waits, of these tables (by `tableName()`) or of all. APPLY_BLOCKED, see settleWaiting. */
  readonly settle: (fence: Fence, tables?: ReadonlySet<string>) => Promise<void>;
} {
  const { database, source, read, act } = parts;
  const counts: Waiting['counts'] = () =>
    read('count what waits', (client) => countWaiting(client, database, source));
  const write = (
    fence: Fence,
    tables?: ReadonlySet<string>,
  ): Promise<{ readonly written: number; readonly left: number }> =>
    act(fence, 'write what waits', (session) => writeWaiting(session, tables));
  return {
    waiting: {
      counts,
      write: async (fence) => {
        // Mostly nothing does, and then it takes no fence.
        return (await counts()).length === 0 ? { written: 0, left: 0 } : write(fence);
      },
    },
    settle: (fence, tables) => settleWaiting(database, () => write(fence, tables)),
  };
}
