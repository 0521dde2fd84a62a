import { tableName } from '../../../change/table-id.ts';
import type { BaseReader } from '../../dialect.ts';
import { facing, type Reshapes } from '../../sql/reshaped.ts';
import { MySqlTableReader } from '../compare/table-reader.ts';
import { readTables, type DatabaseTables } from '../catalogue/catalogue.ts';
import { hasEntries, readCaptured, type CapturedTable } from '../overlay/journal.ts';
import { isAnyWaiting } from '../overlay/waiting.ts';
import { readCaptureGaps } from '../overlay/watch.ts';
import { keptName, readKept, readReshapes } from '../overlay/reshapes.ts';
import type { ServerAddress } from '../session/address.ts';
import { Client } from '../session/client.ts';
import { toUnderstudyError } from '../session/errors.ts';
import { companionName } from '../session/names.ts';
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
    const visible = await readTables(session, database, source);
    const reshapes = await readReshapes(session, database, source);
    const { kept } = await readKept(session, database, visible);
    const tables = await facingTables(session, { database, source, visible }, reshapes);
    const images = new Map<string, CapturedTable>();
    const captured = await readCaptured(session, database, source);
    for (const table of captured) {
      if (kept.has(table.label)) continue;
      const isBeside = (await hasEntries(session, table)) || (await isAnyWaiting(session, table));
      if (isBeside) images.set(table.label, table);
    }
    const labels = new Set(captured.map(({ label }) => label));
    const all = isRollout ? [...tables.catalogue.keys()] : [];
    // What foreign keys do to rows is not told, and not done to what is kept of a reshaped table.
    const isTold = (label: string): boolean =>
      reshapes.tables.get(label)?.schema.foreignKeys.every((key) => key.unlogged === undefined) ??
      labels.has(label);
    const gapped = new Set((await readCaptureGaps(session, database, source)).map(tableName));
    const notCaptured = new Set(all.filter((label) => !isTold(label) || gapped.has(label)));
    const gaps = await readGaps(session, database, Number.MAX_SAFE_INTEGER);
    return new MySqlTableReader({
      ...{
        client: session,
        database,
        tables,
        images,
        elsewhere: new Map([...kept].map(([label, { relation }]) => [label, relation] as const)),
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

/** As production has them: a reshaped one as it is kept. */
async function facingTables(
  client: Client,
  at: { readonly database: string; readonly source: string; readonly visible: DatabaseTables },
  reshapes: Reshapes,
): Promise<DatabaseTables> {
  const { database, source, visible } = at;
  if (reshapes.tables.size === 0 && reshapes.own.size === 0) return visible;
  const ours = await readTables(client, companionName(database), source);
  const textForms = new Map(visible.textForms);
  const keyIndexes = new Map(visible.keyIndexes);
  for (const [label, { schema }] of reshapes.tables) {
    const kept = tableName({ schema: source, name: keptName(schema.id.name) });
    textForms.set(label, ours.textForms.get(kept) ?? new Map());
    keyIndexes.set(label, ours.keyIndexes.get(kept) ?? 'PRIMARY');
  }
  return { ...visible, catalogue: facing(visible.catalogue, reshapes), textForms, keyIndexes };
}
