import { tableName, type TableId } from '../../../change/table-id.ts';
import type { BaseReader, TableGaps } from '../../dialect.ts';
import { facing } from '../../sql/reshaped.ts';
import { readCatalogue } from '../catalogue/catalogue.ts';
import { openTableReader } from '../compare/table-reader.ts';
import { readCaptured } from '../overlay/journal.ts';
import { readReshapes } from '../overlay/reshapes.ts';
import { readCaptureGaps } from '../overlay/watch.ts';
import { relation, viewId } from '../session/names.ts';
import { openSession, type ServerAddress } from '../session/session.ts';
import { readGaps } from './gaps.ts';

/** A reader over a new snapshot of production's image in a shadow database, on a session of its own. */
export async function openBaseReader(
  address: ServerAddress,
  database: string,
): Promise<BaseReader> {
  let captured: ReadonlySet<string> = new Set();
  let gaps: readonly TableGaps[] = [];
  let notCaptured: ReadonlySet<string> = new Set();
  const client = await openSession(address, database, 'snapshot');
  return openTableReader({
    client,
    relation: (table: TableId) =>
      captured.has(tableName(table)) ? relation(viewId(table, 'production')) : relation(table),
    tables: async (snapshot) => {
      const overlay = await readCaptured(snapshot);
      const reshapes = await readReshapes(snapshot);
      captured = new Set([...(overlay?.keys() ?? []), ...reshapes.tables.keys()]);
      gaps = await readGaps(snapshot, null);
      const catalogue = facing(await readCatalogue(snapshot), reshapes);
      const all = overlay === null ? [] : [...catalogue.keys()];
      const gapped = new Set(
        all.length === 0 ? [] : (await readCaptureGaps(snapshot)).map(tableName),
      );
      notCaptured = new Set(all.filter((one) => !captured.has(one) || gapped.has(one)));
      return catalogue;
    },
    gaps: () => gaps,
    notCaptured: () => notCaptured,
  });
}
