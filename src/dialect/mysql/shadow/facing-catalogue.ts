import { withFormerColumns } from '../../../schema/former-columns.ts';
import { withFormerNames } from '../../../schema/table-renames.ts';
import type { SchemaCatalogue } from '../../../schema/table-schema.ts';
import { facing } from '../../sql/reshaped.ts';
import { readTables } from '../catalogue/catalogue.ts';
import { readReshapes } from '../overlay/reshapes.ts';
import type { Client } from '../session/client.ts';
import { readFormerColumns } from './former-columns.ts';
import { readRenames } from './renamed-tables.ts';

/** The tables as production's log knows them: in production's shapes, and with the names of before. */
export async function readFacing(
  client: Client,
  database: string,
  source: string,
): Promise<SchemaCatalogue> {
  const { catalogue } = await readTables(client, database, source);
  const faced = facing(catalogue, await readReshapes(client, database, source));
  const former = withFormerColumns(faced, await readFormerColumns(client, database));
  return withFormerNames(former, await readRenames(client, database));
}
