/** What a shadow database does so that it keeps up with production's schema. */
import { tableName } from '../../../change/table-id.ts';
import type { ErrorCode } from '../../../errors/codes.ts';
import { formerTables } from '../../../schema/former-columns.ts';
import type { Fence } from '../../dialect.ts';
import type { SchemaTarget } from '../../evolving.ts';
import { readTables } from '../catalogue/catalogue.ts';
import type { Client } from '../session/client.ts';
import { carryChanges, type CarryPlace } from './carry.ts';
import { readFormerColumns, saveFormerColumn } from './former-columns.ts';
import { noteTable, readNotedTables } from './noted-tables.ts';
import { finishRenames, readRenames, saveRename } from './renamed-tables.ts';

export interface EvolvingParts {
  readonly place: CarryPlace;
  readonly read: <T>(doing: string, fn: (client: Client) => Promise<T>) => Promise<T>;
  /** One fenced transaction. */
  readonly act: <T>(
    fence: Fence,
    doing: string,
    otherwise: ErrorCode,
    fn: (client: Client) => Promise<T>,
  ) => Promise<T>;
  /** What is known of the tables. */
  readonly forget: () => void;
  /** Writes what waits of these tables, by `tableName()`, before they get other shapes. */
  readonly settle: (fence: Fence, tables: ReadonlySet<string>) => Promise<void>;
}

export function mysqlEvolving(parts: EvolvingParts): SchemaTarget {
  const { place, read, act } = parts;
  const { database, source } = place;
  return {
    carry: async (fence, changes) => {
      const changed = changes.map(({ change }) =>
        tableName(change.kind === 'renameTable' ? change.from : change.table),
      );
      await parts.settle(fence, new Set(changed));
      return act(fence, 'change the schema', 'SCHEMA_FAILED', () => {
        parts.forget();
        return carryChanges(place, fence, changes);
      });
    },
    remember: (fence, former) =>
      act(fence, 'remember a column', 'APPLY_FAILED', (client) =>
        saveFormerColumn(client, database, former),
      ),
    renames: () => read('read what tables were called', (client) => readRenames(client, database)),
    finishRenames: (fence) =>
      act(fence, 'end a rename', 'SCHEMA_FAILED', async (client) => {
        const { catalogue } = await readTables(client, database, source);
        await finishRenames(client, database, catalogue);
      }),
    rememberRename: (fence, rename) =>
      act(fence, 'remember a name', 'APPLY_FAILED', (client) =>
        saveRename(client, database, rename),
      ),
    identities: null,
    formerTables: () =>
      read('read what tables there were', async (client) =>
        formerTables(
          await readFormerColumns(client, database),
          await readRenames(client, database),
        ),
      ),
    noted: () => read('read what tables are kept', (client) => readNotedTables(client, database)),
    note: (fence, table, state) =>
      act(fence, 'note a table', 'APPLY_FAILED', (client) =>
        noteTable(client, database, table, state),
      ),
  };
}
