/**
 * Whether a connector can be reading this server, or the one that it is a replica of, by what it has
 * committed: GTIDs that nobody here ever made, or a binlog that is not here, are another server's.
 */
import type { ConnectorTraces } from '../../connector-traces.ts';
import type { Client } from '../session/client.ts';
import { isRefusal } from '../session/errors.ts';
import type { Flavour } from '../session/flavour.ts';

/** Why not; null if it can. */
export async function whyUnlike(
  client: Client,
  { engine }: Flavour,
  { offsets }: ConnectorTraces,
): Promise<string | null> {
  for (const { gtids = null, file = null, pos = null } of offsets) {
    const text = typeof gtids === 'string' ? gtids.replaceAll(/\s+/g, '') : '';
    const why =
      engine === 'mysql' ? await unknownSource(client, text) : await unknownDomain(client, text);
    if (why !== null) return why;
    if (typeof file !== 'string') continue;
    if (text !== '' && (engine === 'mysql' || (await isReplica(client)))) continue;
    const missing = await missingBinlog(client, file, Number(pos));
    if (missing !== null) return missing;
  }
  return null;
}

/** By servers' ids alone: a replica may lack the newest numbers. */
async function unknownSource(client: Client, gtids: string): Promise<string | null> {
  if (gtids === '') return null;
  const { known } = await client.row<{ known: string }>('SELECT @@global.gtid_executed AS known');
  const ours = sourcesIn(known);
  const other = [...sourcesIn(gtids)].find((source) => !ours.has(source));
  if (other === undefined) return null;
  return `it has transactions of server ${other}, and this one has none of those`;
}

function sourcesIn(gtids: string): ReadonlySet<string> {
  const items = gtids.toLowerCase().replaceAll(/\s+/g, '').split(',');
  return new Set(items.map((item) => item.slice(0, item.indexOf(':'))).filter((id) => id !== ''));
}

async function unknownDomain(client: Client, gtids: string): Promise<string | null> {
  if (gtids === '') return null;
  const { known } = await client.row<{ known: string }>(
    `SELECT CONCAT_WS(',', @@global.gtid_binlog_state, @@global.gtid_current_pos) AS known`,
  );
  const ours = new Set(known.split(',').map(serverOf));
  const other = gtids.split(',').find((gtid) => !ours.has(serverOf(gtid)));
  if (other === undefined) return null;
  return `it has ${other}, and this server has nothing of that domain and server`;
}

/** `0-1` of `0-1-42`. */
function serverOf(gtid: string): string {
  return gtid.slice(0, gtid.lastIndexOf('-'));
}

/** Binlogs of a replica are its own, and so are those of one that was. */
async function isReplica(client: Client): Promise<boolean> {
  const { at } = await client.row<{ at: string }>('SELECT @@global.gtid_slave_pos AS at');
  return at !== '';
}

async function missingBinlog(client: Client, file: string, pos: number): Promise<string | null> {
  let logs: readonly { readonly Log_name: string; readonly File_size: number | string }[];
  try {
    logs = await client.rows('SHOW BINARY LOGS');
  } catch (error) {
    // `doctor` names the right.
    if (isRefusal(error)) return null;
    throw error;
  }
  const log = logs.find((one) => one.Log_name === file);
  if (log === undefined) return `it reads ${file}, and this server has no such binlog`;
  if (!(pos > Number(log.File_size))) return null;
  return `it is at ${String(pos)} of ${file}, which has ${String(log.File_size)} bytes here`;
}
