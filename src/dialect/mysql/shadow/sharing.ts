/**
 * Who follows which partitions: see the port. The statements behind it.
 *
 * Transactions here are READ COMMITTED: what is read without a lock is of the statement's begin, so that
 * after a wait for a lock it is asked anew. Rows are locked by their whole primary key, since a scan
 * would wait for the rows of others.
 */
import { parsePartitionKey, partitionKey, type OffsetMap } from '../../../change/position.ts';
import type { Share } from '../../fence.ts';
import type { HandOver, HandOverReason, Sharing } from '../../sharing.ts';
import {
  judgeOwn,
  judgeShare,
  sqlSharing,
  type SharingParts,
  type SharingTables,
  type ShareRow,
} from '../../sql/sharing.ts';
import { transaction, type Client } from '../session/client.ts';
import { NOW_US } from '../session/clock.ts';
import { companionName, literal, quote } from '../session/names.ts';
import { endSilentMembers, MEMBER_SILENT_US, memberSession } from './member-sessions.ts';
import { rowsAt } from './places.ts';

export function mysqlSharing(parts: Omit<SharingParts<Client>, 'transaction' | 'tables'>): Sharing {
  const tables = (client: Client): SharingTables => sharingTables(client, parts.database);
  return sqlSharing({ ...parts, transaction, tables });
}

/** As the driver gives it: 64 bits are texts. */
type Texts<Row> = {
  readonly [K in keyof Row]: Row[K] extends bigint ? string | number : Row[K];
};

function sharingTables(client: Client, database: string): SharingTables {
  const table = (name: string): string => quote(companionName(database), name);
  const shares = (member: bigint | null): Promise<readonly ShareRow[]> =>
    readShares(
      client,
      `${table('share')} WHERE ${member === null ? 'TRUE' : `member = ${String(member)}`}`,
    );
  return {
    addMember: async (name) => {
      const { insertId } = await client.run(
        `INSERT INTO ${table('member')} (name, at_us) VALUES (?, ${NOW_US})`,
        [name],
      );
      return BigInt(insertId);
    },
    visit: async (member, note) => {
      if (note === null) {
        const sql = `SELECT 1 AS known FROM ${table('member')} WHERE number = ?`;
        return (await client.rows(sql, [member])).length === 1;
      }
      const { rows } = await client.run(
        `UPDATE ${table('member')} SET at_us = ${NOW_US}, note = ? WHERE number = ?`,
        [JSON.stringify(note), member],
      );
      return rows === 1;
    },
    remove: async (member) => {
      // First: nothing is given to it from now on.
      await client.run(`DELETE FROM ${table('member')} WHERE number = ?`, [member]);
      await takeBack(client, database, await shares(member));
    },
    members: async () => {
      const rows = await client.rows<{
        readonly number: string | number;
        readonly name: string;
        readonly note: string | null;
        readonly silentUs: string | number;
        readonly session: string | number | null;
      }>(
        `SELECT m.number, m.name, m.note, ${MEMBER_SILENT_US} AS silentUs,
            ${memberSession(database)} AS session
          FROM ${table('member')} m ORDER BY m.number`,
      );
      return rows.map(({ number, name, note, silentUs, session }) => ({
        ...{ number: BigInt(number), name, note },
        silentMs: Number(silentUs) / 1000,
        present: session !== null,
      }));
    },
    shares,
    addHandOvers: async (points) => {
      for (const { topic, partition, offset, why } of points) {
        // In this order: each assignment sees what those before it set.
        await client.run(
          `INSERT INTO ${table('hand_over')} (topic, \`partition\`, at_offset, why)
            VALUES (?, ?, ?, ?) ON DUPLICATE KEY UPDATE
              why = IF(at_offset < ?, ?, why), at_offset = GREATEST(at_offset, ?)`,
          [topic, partition, offset, why, offset, why, offset],
        );
      }
    },
    handOvers: async () => {
      const rows = await client.rows<Texts<HandOver> & { readonly why: HandOverReason }>(
        `SELECT topic, \`partition\`, at_offset AS \`offset\`, why FROM ${table('hand_over')}
          ORDER BY topic, \`partition\``,
      );
      return rows.map((row) => ({ ...row, offset: BigInt(row.offset) }));
    },
    removeHandOvers: async (points) => {
      for (const { topic, partition, offset } of points) {
        await client.run(
          `DELETE FROM ${table('hand_over')}
            WHERE topic = ? AND \`partition\` = ? AND at_offset <= ?`,
          [topic, partition, offset],
        );
      }
    },
    endSilent: (leaseMs) => endSilentMembers(client, database, leaseMs),
    assign: (wanted, leaseMs) => assign(client, database, wanted, leaseMs),
  };
}

async function readShares(
  client: Client,
  from: string,
  lock: '' | 'LOCK IN SHARE MODE' = '',
): Promise<readonly ShareRow[]> {
  const rows = await client.rows<Texts<ShareRow>>(
    `SELECT topic, \`partition\`, member, granted FROM ${from}
      ORDER BY topic, \`partition\` ${lock}`,
  );
  return rows.map((row) => ({
    ...row,
    member: BigInt(row.member),
    granted: BigInt(row.granted),
  }));
}

/** Waits for the transactions that hold one of them. */
async function takeBack(
  client: Client,
  database: string,
  shares: readonly ShareRow[],
): Promise<void> {
  for (const { topic, partition, granted } of shares) {
    await client.run(
      `DELETE FROM ${quote(companionName(database), 'share')}
        WHERE topic = ? AND \`partition\` = ? AND granted = ?`,
      [topic, partition, granted],
    );
  }
}

/** In the holder's transaction. */
async function assign(
  client: Client,
  database: string,
  wanted: ReadonlyMap<string, bigint>,
  leaseMs: number,
): Promise<void> {
  const table = (name: string): string => quote(companionName(database), name);
  const members = async (lock: '' | 'LOCK IN SHARE MODE'): Promise<ReadonlySet<bigint>> => {
    const rows = await client.rows<{ readonly number: string | number }>(
      `SELECT number FROM ${table('member')} ${lock}`,
    );
    return new Set(rows.map(({ number }) => BigInt(number)));
  };
  // Waits for acts of the holder that run on other sessions, and keeps new ones out.
  const { newest } = await client.row<{ readonly newest: string | number }>(
    `SELECT newest FROM ${table('granting')} WHERE one = 1 FOR UPDATE`,
  );
  await client.run(
    `DELETE m FROM ${table('member')} m
      WHERE ${memberSession(database)} IS NULL OR ${MEMBER_SILENT_US} > ?`,
    [Math.ceil(leaseMs * 1000)],
  );
  const there = await members('');
  const before = await readShares(client, table('share'));
  const isKept = (row: ShareRow): boolean =>
    there.has(row.member) && wanted.get(partitionKey(row.topic, row.partition)) === row.member;
  await takeBack(
    client,
    database,
    before.filter((row) => !isKept(row)),
  );
  const kept = new Set(
    before.filter(isKept).map(({ topic, partition }) => partitionKey(topic, partition)),
  );
  // From here to the commit nobody leaves. Not before, since signs of life wait for it too.
  const staying = await members('LOCK IN SHARE MODE');
  const given = [...wanted].filter(([key, member]) => !kept.has(key) && staying.has(member));
  if (given.length > 0) {
    const rows = given.map(([key, member], i) => {
      const { topic, partition } = parsePartitionKey(key);
      const granted = BigInt(newest) + BigInt(i + 1);
      return `(${literal(topic)}, ${String(partition)}, ${String(member)}, ${String(granted)})`;
    });
    await client.run(
      `INSERT INTO ${table('share')} (topic, \`partition\`, member, granted)
        VALUES ${rows.join(', ')}`,
    );
  }
  const shared = kept.size + given.length > 0 ? 1 : 0;
  await client.run(
    `UPDATE ${table('granting')} SET newest = newest + ?, shared = ? WHERE one = 1`,
    [given.length, shared],
  );
}

/**
 * In a member's transaction: all that it was given is still its own, and stays so until it ends.
 * FENCED if some of it was taken back, or the batch moves what it was not given.
 */
export async function assertShare(
  client: Client,
  share: Share,
  moves: OffsetMap,
  database: string,
): Promise<void> {
  const table = quote(companionName(database), 'share');
  const own = rowsAt(table, share.partitions.keys());
  judgeShare(share, await readShares(client, own, 'LOCK IN SHARE MODE'), moves, database);
}

/**
 * In the holder's transaction, while some partitions are given to members: FENCED if the batch moves
 * one of these.
 */
export async function assertOwn(client: Client, moves: OffsetMap, database: string): Promise<void> {
  judgeOwn(await readShares(client, quote(companionName(database), 'share')), moves, database);
}

/** The holder may act beside members. */
export function beside(): Promise<void> {
  return Promise.resolve();
}
