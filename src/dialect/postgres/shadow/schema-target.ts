/** What a shadow database remembers of its schema, and how it changes: see dialect/evolving.ts. */
import type { Client } from 'pg';
import { formerTables } from '../../../schema/former-columns.ts';
import type { SchemaTarget } from '../../evolving.ts';
import type { Fence } from '../../fence.ts';
import type { ShadowActs } from '../../sql/shadow-acts.ts';
import type { ApplySession } from '../apply/apply.ts';
import { settleWaiting } from '../overlay/write-waiting.ts';
import { carryChanges, turnsOf } from './carry.ts';
import { readFormerColumns, saveFormerColumn } from './former-columns.ts';
import { noteTable, readNotedTables } from './noted-tables.ts';
import { identityLedger, readRenames, saveRename } from './renamed-tables.ts';

export function schemaTarget(
  parts: ShadowActs<Client> & {
    /** What an applier's session knows, opened in an act. */
    readonly session: (client: Client, fence: Fence) => Promise<ApplySession>;
  },
): SchemaTarget {
  const noting = (doing: string) => ({ doing, otherwise: 'APPLY_FAILED' }) as const;
  return {
    carry: async (fence, changes) => {
      const skipped: string[] = [];
      for (const turn of turnsOf(changes)) {
        const what = { doing: 'change the schema', otherwise: 'SCHEMA_FAILED' } as const;
        const tables = turn.map(({ change }) =>
          change.kind === 'renameTable' ? change.from : change.table,
        );
        const left = await parts.act(fence, what, async (client) => {
          // What waits is written in the shape in which it came.
          await settleWaiting(client, () => parts.session(client, fence), tables);
          parts.forget();
          return carryChanges(client, turn);
        });
        skipped.push(...left);
      }
      return skipped;
    },
    remember: (fence, former) =>
      parts.act(fence, noting('remember a column'), (client) => saveFormerColumn(client, former)),
    renames: () => parts.read('read what tables were called', readRenames),
    // They are whole, or not there.
    finishRenames: () => Promise.resolve(),
    rememberRename: (fence, rename) =>
      parts.act(fence, noting('remember a name'), (client) => saveRename(client, rename)),
    identities: identityLedger({
      read: parts.read,
      act: (fence, doing, fn) => parts.act(fence, noting(doing), fn),
    }),
    formerTables: () =>
      parts.read('read what tables there were', async (client) =>
        formerTables(await readFormerColumns(client), await readRenames(client)),
      ),
    noted: () => parts.read('read what tables are kept', readNotedTables),
    note: (fence, table, state) =>
      parts.act(fence, noting('note a table'), (client) => noteTable(client, table, state)),
  };
}
