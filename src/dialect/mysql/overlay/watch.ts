/**
 * Looks whether the triggers that capture are there as they should be: tools that change tables by swapping
 * them for copies take them away, and so may an account of the server's.
 */
import type { TableId } from '../../../change/table-id.ts';
import type { Fence, ReadOnly } from '../../dialect.ts';
import type { ApplySession } from '../apply/apply.ts';
import { Client } from '../session/client.ts';
import { CAPTURING, companionName, quote } from '../session/names.ts';
import { unlessApplier } from '../shadow/accounts.ts';
import { claimPresence } from '../shadow/fence.ts';
import { withoutCapture } from './closed.ts';
import type { Place } from './install.ts';
import { findGuards, setGuards, type Guards } from './read-only.ts';
import { areThese, capturingTriggers, readTriggers } from './triggers.ts';

const gaps = (database: string): string => quote(companionName(database), 'capture_gap');

/** What a look at the triggers found to be amiss. */
export interface AmissTriggers {
  readonly lost: readonly TableId[];
  readonly guards: Guards;
}

/** Null if all are as they should be. */
export async function lookAtTriggers(
  session: ApplySession,
  place: Place,
  readOnly: ReadOnly | null | undefined,
): Promise<AmissTriggers | null> {
  const lost = await findLostCapture(session);
  const guards = await findGuards(session.client, place, session.tables.catalogue, readOnly);
  const isWell = lost.length + guards.missing.length + guards.surplus.length === 0;
  return isWell || session.captured.size === 0 ? null : { lost, guards };
}

/** Captured tables of which one is missing, or another. Costs one look at the server's triggers. */
async function findLostCapture({
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

/**
 * Makes again what captures, and notes the tables; sees to what guards tables that are only read. While the
 * caller holds the fence.
 */
export async function mendTriggers(
  place: Place,
  fence: Fence,
  { lost, guards }: AmissTriggers,
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
    if (names.length > 0) await withoutCapture(client, place, names, () => Promise.resolve());
    await setGuards(client, database, guards);
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
