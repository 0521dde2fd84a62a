/** What a shadow database remembers of its schema, and how it changes: see dialect/evolving.ts. */
import { tableName } from '../../../change/table-id.ts';
import { formerTables } from '../../../schema/former-columns.ts';
import type { SchemaTarget } from '../../evolving.ts';
import type { Fence } from '../../fence.ts';
import type { ShadowActs } from '../../sql/shadow-acts.ts';
import { readTables } from '../catalogue/catalogue.ts';
import type { ServerAddress } from '../session/address.ts';
import type { Client } from '../session/client.ts';
import { carryChanges } from './carry.ts';
import { readFormerColumns, saveFormerColumn } from './former-columns.ts';
import { noteTable, readNotedTables } from './noted-tables.ts';
import { finishRenames, readRenames, saveRename } from './renamed-tables.ts';

interface TargetParts extends ShadowActs<Client> {
  readonly address: ServerAddress;
  readonly database: string;
  /** Name of the followed database in production. */
  readonly source: string;
  readonly isRollout: boolean;
  /** Writes what waits of these tables, by `tableName()`, before they get other shapes. */
  readonly settle: (fence: Fence, tables: ReadonlySet<string>) => Promise<void>;
}

export function schemaTarget(parts: TargetParts): SchemaTarget {
  const { database, source } = parts;
  const noting = (doing: string) => ({ doing, otherwise: 'APPLY_FAILED' }) as const;
  return {
    carry: async (fence, changes) => {
      const changed = changes.map(({ change }) =>
        tableName(change.kind === 'renameTable' ? change.from : change.table),
      );
      await parts.settle(fence, new Set(changed));
      return parts.act(fence, { doing: 'change the schema', otherwise: 'SCHEMA_FAILED' }, () => {
        parts.forget();
        return carryChanges(parts, fence, changes);
      });
    },
    remember: (fence, former) =>
      parts.act(fence, noting('remember a column'), (client) =>
        saveFormerColumn(client, database, former),
      ),
    renames: () =>
      parts.read('read what tables were called', (client) => readRenames(client, database)),
    finishRenames: (fence) =>
      parts.act(fence, { doing: 'end a rename', otherwise: 'SCHEMA_FAILED' }, async (client) => {
        const { catalogue } = await readTables(client, database, source);
        await finishRenames(client, database, catalogue);
      }),
    rememberRename: (fence, rename) =>
      parts.act(fence, noting('remember a name'), (client) => saveRename(client, database, rename)),
    identities: null,
    formerTables: () =>
      parts.read('read what tables there were', async (client) =>
        formerTables(
          await readFormerColumns(client, database),
          await readRenames(client, database),
        ),
      ),
    noted: () =>
      parts.read('read what tables are kept', (client) => readNotedTables(client, database)),
    note: (fence, table, state) =>
      parts.act(fence, noting('note a table'), (client) =>
        noteTable(client, database, table, state),
      ),
  };
}
