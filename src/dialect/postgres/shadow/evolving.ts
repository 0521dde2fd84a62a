/** The port's target of production's changes of the schema over a shadow database's acts. */
import type pg from 'pg';
import type { ErrorCode } from '../../../errors/codes.ts';
import { formerTables } from '../../../schema/former-columns.ts';
import type { Fence } from '../../dialect.ts';
import type { SchemaTarget } from '../../evolving.ts';
import type { ApplySession } from '../apply/apply.ts';
import { settleWaiting } from '../overlay/write-waiting.ts';
import { carryChanges, turnsOf } from './carry.ts';
import { readFormerColumns, saveFormerColumn } from './former-columns.ts';
import { noteTable, readNotedTables } from './noted-tables.ts';
import { identityLedger, readRenames, saveRename } from './renamed-tables.ts';

export function pgEvolving(parts: {
  readonly read: <T>(doing: string, fn: (client: pg.Client) => Promise<T>) => Promise<T>;
  /** One fenced transaction. */
  readonly act: <T>(
    fence: Fence,
    doing: string,
    otherwise: ErrorCode,
    fn: (client: pg.Client) => Promise<T>,
  ) => Promise<T>;
  readonly session: (client: pg.Client, fence: Fence) => Promise<ApplySession>;
  /** What the session knows of the tables does not hold any more. */
  readonly forget: () => void;
}): SchemaTarget {
  const { read, act, session, forget } = parts;
  return {
    carry: async (fence, changes) => {
      const skipped: string[] = [];
      for (const turn of turnsOf(changes)) {
        const left = await act(fence, 'change the schema', 'SCHEMA_FAILED', async (client) => {
          // Rows are written in the shape in which they came.
          await settleWaiting(
            client,
            () => session(client, fence),
            turn.map(({ change }) => (change.kind === 'renameTable' ? change.from : change.table)),
          );
          forget();
          return carryChanges(client, turn);
        });
        skipped.push(...left);
      }
      return skipped;
    },
    remember: (fence, former) =>
      act(fence, 'remember a column', 'APPLY_FAILED', (client) => saveFormerColumn(client, former)),
    renames: () => read('read what tables were called', readRenames),
    // They are whole, or not there.
    finishRenames: () => Promise.resolve(),
    rememberRename: (fence, rename) =>
      act(fence, 'remember a name', 'APPLY_FAILED', (client) => saveRename(client, rename)),
    identities: identityLedger({
      read,
      act: (fence, doing, fn) => act(fence, doing, 'APPLY_FAILED', fn),
    }),
    formerTables: () =>
      read('read what tables there were', async (client) =>
        formerTables(await readFormerColumns(client), await readRenames(client)),
      ),
    noted: () => read('read what tables are kept', readNotedTables),
    note: (fence, table, state) =>
      act(fence, 'note a table', 'APPLY_FAILED', (client) => noteTable(client, table, state)),
  };
}
