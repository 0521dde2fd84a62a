/** Who follows which partitions: see the port. The statements behind it. */
import type pg from 'pg';
import { parsePartitionKey, type LogOffset, type OffsetMap } from '../../../change/position.ts';
import type { Share } from '../../fence.ts';
import type { HandOver, Sharing } from '../../sharing.ts';
import {
  judgeOwn,
  judgeShare,
  sqlSharing,
  type MemberRow,
  type SharingParts,
  type SharingTables,
  type ShareRow,
} from '../../sql/sharing.ts';
import { transaction } from '../session/session.ts';
import {
  endSilentMembers,
  MEMBER_PRESENT,
  MEMBER_SILENT_MS,
  showMember,
} from './member-sessions.ts';

/** How long the transactions of who loses a partition are waited for. */
const REVOKE_WAIT = '2s';
/** Beside others, a batch waits for their commits: nobody but us works in what is shared. */
const BESIDE_WAIT = `SET LOCAL lock_timeout = '1s'`;

export function pgSharing(
  parts: Omit<SharingParts<pg.Client>, 'transaction' | 'tables' | 'show'>,
): Sharing {
  const present = new WeakMap<pg.Client, bigint>();
  return sqlSharing({
    ...{ ...parts, transaction, tables: sharingTables },
    show: async (client, member) => {
      if (present.get(client) === member) return;
      await showMember(client, member);
      present.set(client, member);
    },
  });
}

function sharingTables(client: pg.ClientBase): SharingTables {
  return {
    addMember: async (name) => {
      const { rows } = await client.query<{ number: bigint }>(
        'INSERT INTO understudy.member (name) VALUES ($1) RETURNING number',
        [name],
      );
      return rows[0]?.number ?? 0n;
    },
    visit: async (member, note) => {
      const known =
        note === null
          ? await client.query('SELECT FROM understudy.member WHERE number = $1', [member])
          : await client.query(
              `UPDATE understudy.member SET at = pg_catalog.clock_timestamp(), note = $2
                WHERE number = $1`,
              [member, JSON.stringify(note)],
            );
      return known.rowCount === 1;
    },
    remove: async (member) => {
      await client.query('DELETE FROM understudy.share WHERE member = $1', [member]);
      await client.query('DELETE FROM understudy.member WHERE number = $1', [member]);
    },
    members: async () => {
      const { rows } = await client.query<MemberRow>(
        `SELECT m.number, m.name, m.note, ${MEMBER_SILENT_MS} AS "silentMs",
            ${MEMBER_PRESENT} AS present
          FROM understudy.member m ORDER BY m.number`,
      );
      return rows;
    },
    shares: async (member) => {
      const { rows } = await client.query<ShareRow>(
        `SELECT topic, partition, member, granted FROM understudy.share
          WHERE $1::int8 IS NULL OR member = $1 ORDER BY topic, partition`,
        [member],
      );
      return rows;
    },
    addHandOvers: async (points) => {
      await client.query(
        `INSERT INTO understudy.hand_over AS h (topic, partition, at_offset, why)
          SELECT * FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::int[]),
            pg_catalog.unnest($3::int8[]), pg_catalog.unnest($4::text[])) AS g
          ON CONFLICT (topic, partition) DO UPDATE
            SET at_offset = excluded.at_offset, why = excluded.why
            WHERE h.at_offset < excluded.at_offset`,
        [...columns(points), points.map(({ offset }) => offset), points.map(({ why }) => why)],
      );
    },
    handOvers: async () => {
      const { rows } = await client.query<HandOver>(
        `SELECT topic, partition, at_offset AS offset, why FROM understudy.hand_over
          ORDER BY topic, partition`,
      );
      return rows;
    },
    removeHandOvers: async (points) => {
      await client.query(
        `DELETE FROM understudy.hand_over h USING ROWS FROM (pg_catalog.unnest($1::text[]),
            pg_catalog.unnest($2::int[]), pg_catalog.unnest($3::int8[]))
            AS g (topic, partition, at_offset)
          WHERE h.topic = g.topic AND h.partition = g.partition AND h.at_offset <= g.at_offset`,
        [...columns(points), points.map(({ offset }) => offset)],
      );
    },
    endSilent: (leaseMs) => endSilentMembers(client, leaseMs),
    assign: (wanted, leaseMs) => assign(client, wanted, leaseMs),
  };
}

function columns(places: readonly LogOffset[]): readonly [string[], number[]] {
  return [places.map(({ topic }) => topic), places.map(({ partition }) => partition)];
}

/** In the holder's transaction. */
async function assign(
  client: pg.ClientBase,
  wanted: ReadonlyMap<string, bigint>,
  leaseMs: number,
): Promise<void> {
  const places = [...wanted].map(([key, member]) => ({ ...parsePartitionKey(key), member }));
  const given = [
    places.map(({ topic }) => topic),
    places.map(({ partition }) => partition),
    places.map(({ member }) => member),
  ];
  const list = `ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::int[]),
    pg_catalog.unnest($3::int8[])) AS g (topic, partition, member)`;
  await client.query(`SET LOCAL lock_timeout = '${REVOKE_WAIT}'`);
  // Waits for acts of the holder that run on other sessions, and keeps new ones out.
  await client.query('SELECT FROM understudy.fence FOR UPDATE');
  await client.query(
    `DELETE FROM understudy.member m
      WHERE NOT ${MEMBER_PRESENT} OR ${MEMBER_SILENT_MS} > $1`,
    [leaseMs],
  );
  // Waits for the transactions that hold one of them.
  await client.query(
    `DELETE FROM understudy.share s
      WHERE NOT EXISTS (SELECT FROM understudy.member WHERE number = s.member)
        OR NOT EXISTS (SELECT FROM ${list} WHERE g.topic = s.topic AND g.partition = s.partition
          AND g.member = s.member)`,
    given,
  );
  await client.query(
    `INSERT INTO understudy.share (topic, partition, member)
      SELECT g.topic, g.partition, g.member FROM ${list}
        JOIN understudy.member m ON m.number = g.member
      ON CONFLICT DO NOTHING`,
    given,
  );
}

/**
 * In a member's transaction: all that it was given is still its own, and stays so until it ends.
 * FENCED if some of it was taken back, or the batch moves what it was not given.
 */
export async function assertShare(
  client: pg.ClientBase,
  share: Share,
  moves: OffsetMap,
  database: string,
): Promise<void> {
  const places = [...share.partitions.keys()].map((key) => parsePartitionKey(key));
  await client.query(BESIDE_WAIT);
  const { rows } = await client.query<ShareRow>(
    `SELECT s.topic, s.partition, s.member, s.granted
      FROM understudy.share s JOIN ROWS FROM (pg_catalog.unnest($1::text[]),
        pg_catalog.unnest($2::int[])) AS g (topic, partition)
        ON s.topic = g.topic AND s.partition = g.partition
      WHERE s.member = $3 ORDER BY s.topic, s.partition FOR SHARE OF s`,
    [places.map(({ topic }) => topic), places.map(({ partition }) => partition), share.member],
  );
  judgeShare(share, rows, moves, database);
}

/**
 * In the holder's transaction, while some partitions are given to members: FENCED if the batch moves
 * one of these.
 */
export async function assertOwn(
  client: pg.ClientBase,
  moves: OffsetMap,
  database: string,
): Promise<void> {
  await client.query(BESIDE_WAIT);
  const { rows } = await client.query<ShareRow>('SELECT topic, partition FROM understudy.share');
  judgeOwn(rows, moves, database);
}
