import type { BaseReader } from '../../dialect.ts';
import { MySqlTableReader } from '../compare/table-reader.ts';
import { readTables } from '../catalogue/catalogue.ts';
import { hasEntries, readCaptured } from '../overlay/journal.ts';
import type { ServerAddress } from '../session/address.ts';
import { Client } from '../session/client.ts';
import { toUnderstudyError } from '../session/errors.ts';
import { readGaps } from './gaps.ts';

/**
 * A reader over a new snapshot of production's image in a shadow database: it is taken before the promise resolves, so what
 * commits later is not in it. `source` names production's database. Errors: READ_FAILED,
 * SHADOW_UNREACHABLE.
 */
export async function openBaseReader(
  address: ServerAddress,
  {
    database,
    source,
    isRollout,
  }: { readonly database: string; readonly source: string; readonly isRollout: boolean },
): Promise<BaseReader> {
  let client: Client | null = null;
  try {
    client = await Client.connect(address, database);
    const session = client;
    await session.run('SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ');
    await session.run('START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY');
    const tables = await readTables(session, database, source);
    const journals = new Map<string, string>();
    const captured = await readCaptured(session, database, source);
    for (const table of captured) {
      if (await hasEntries(session, table)) journals.set(table.label, table.journal);
    }
    const labels = new Set(captured.map(({ label }) => label));
    const all = isRollout ? [...tables.catalogue.keys()] : [];
    const notCaptured = new Set(all.filter((label) => !labels.has(label)));
    const gaps = await readGaps(session, database, Number.MAX_SAFE_INTEGER);
    return new MySqlTableReader({
      ...{
        client: session,
        database,
        tables,
        journals,
        gaps: () => gaps,
        notCaptured: () => notCaptured,
        close: () => session.end(),
      },
    });
  } catch (error) {
    client?.destroy();
    throw toUnderstudyError(error, {
      ...{ doing: 'open a snapshot', address: address.describe(database) },
      ...{ context: { database }, otherwise: 'READ_FAILED' },
    });
  }
}
