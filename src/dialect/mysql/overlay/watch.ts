/**
 * Looks whether the triggers that capture are there as they should be: tools that change tables by swapping
 * them for copies take them away, and so may an account of the server's.
 */
import type { TableId } from '../../../change/table-id.ts';
import type { Fence } from '../../dialect.ts';
import type { ApplySession } from '../apply/apply.ts';
import { Client } from '../session/client.ts';
import { CAPTURING, companionName, quote } from '../session/names.ts';
import { unlessApplier } from '../shadow/accounts.ts';
import { claimPresence } from '../shadow/fence.ts';
import { withoutCapture } from './closed.ts';
import type { Place } from './install.ts';
import { areThese, capturingTriggers, readTriggers } from './triggers.ts';

const gaps = (database: string): string => quote(companionName(database), 'capture_gap');

/** Captured tables of which one is missing, or another. Costs one look at the server's triggers. */
export async function findLostCapture({
  client,
  database,
  captured,
  edges,
}: ApplySession): Promise<readonly TableId[]> {
  if (captured.size === 0) return [];
  const unless = await unlessApplier(client);
  const there = await readTriggers(client, database, CAPTURING);
  return [...captured.values()].flatMap((table) => {
    const { id } = table.schema;
    const wanted = capturingTriggers(table, edges, unless);
    return areThese(there.get(id.name) ?? [], wanted) ? [] : [id];
  });
}

/** Makes them again, and notes the tables, while the caller holds the fence. */
export async function captureLost(
  place: Place,
  fence: Fence,
  lost: readonly TableId[],
): Promise<void> {
  const { address, database } = place;
  const client = await Client.connect(address, database);
  try {
    await claimPresence(client, database, fence, 'copy0');
    // First: what was not seen stays so, whatever comes of the rest.
    for (const { name } of lost) {
      await client.run(`INSERT IGNORE INTO ${gaps(database)} (name) VALUES (?)`, [name]);
    }
    const names = lost.map(({ name }) => name);
    await withoutCapture(client, place, names, () => Promise.resolve());
  } finally {
    await client.end();
  }
}

/** Tables that the candidate may have written to unseen. */
export async function readCaptureGaps(
  client: Client,
  database: string,
  source: string,
): Promise<readonly TableId[]> {
  const rows = await client.rows<{ name: string }>(`SELECT name FROM ${gaps(database)}`);
  return rows.map(({ name }) => ({ schema: source, name }));
}
