/** Who follows which partitions: see the port. The statements behind it. */
import type pg from 'pg';
import {
  parsePartitionKey,
  partitionKey,
  type LogOffset,
  type OffsetMap,
} from '../../../change/position.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { HolderNote } from '../../dialect.ts';
import type { Share } from '../../fence.ts';
import type { HandOver, HandOverReason, Member, Sharing } from '../../sharing.ts';
import { transaction, type Connection } from '../session/session.ts';
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

interface SharingParts {
  /** For what must not wait for acts. */
  readonly signs: Connection;
  readonly read: <T>(doing: string, fn: (client: pg.Client) => Promise<T>) => Promise<T>;
  /** One transaction of the holder's. */
  readonly act: <T>(
    fence: Parameters<Sharing['assign']>[0],
    doing: string,
    fn: (client: pg.Client) => Promise<T>,
  ) => Promise<T>;
  readonly leaseMs: number;
}

export function pgSharing(parts: SharingParts): Sharing {
  const { signs, read, act, leaseMs } = parts;
  const present = new WeakMap<pg.Client, bigint>();
  const sign = <T>(doing: string, fn: (client: pg.Client) => Promise<T>): Promise<T> =>
    signs.use({ doing, otherwise: 'INTERNAL' }, fn);
  return {
    join: (name) =>
      sign('join', (client) =>
        transaction(client, async () => {
          const { rows } = await client.query<{ number: bigint }>(
            'INSERT INTO understudy.member (name) VALUES ($1) RETURNING number',
            [name],
          );
          const number = rows[0]?.number ?? 0n;
          // Before the commit: else it would look gone for a moment.
          await showMember(client, number);
          present.set(client, number);
          return number;
        }),
      ),
    visit: (member, note) =>
      sign('look at what is shared', async (client) => {
        if (present.get(client) !== member) {
          await showMember(client, member);
          present.set(client, member);
        }
        return visit(client, member, note);
      }),
    leave: (member) =>
      sign('leave', async (client) => {
        await client.query(
          `WITH left_ AS (DELETE FROM understudy.share WHERE member = $1)
            DELETE FROM understudy.member WHERE number = $1`,
          [member],
        );
      }),
    handOver: (points) =>
      sign('hand over', async (client) => {
        await client.query(
          `INSERT INTO understudy.hand_over AS h (topic, partition, at_offset, why)
            SELECT * FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::int[]),
              pg_catalog.unnest($3::int8[]), pg_catalog.unnest($4::text[])) AS g
            ON CONFLICT (topic, partition) DO UPDATE
              SET at_offset = excluded.at_offset, why = excluded.why
              WHERE h.at_offset < excluded.at_offset`,
          [...columns(points), points.map(({ offset }) => offset), points.map(({ why }) => why)],
        );
      }),
    members: () => read('read who shares', (client) => readMembers(client, leaseMs)),
    handOvers: () => read('read what is handed over', readHandOvers),
    passed: (fence, points) =>
      act(fence, 'note what was passed', async (client) => {
        await client.query(
          `DELETE FROM understudy.hand_over h USING ROWS FROM (pg_catalog.unnest($1::text[]),
              pg_catalog.unnest($2::int[]), pg_catalog.unnest($3::int8[]))
              AS g (topic, partition, at_offset)
            WHERE h.topic = g.topic AND h.partition = g.partition AND h.at_offset <= g.at_offset`,
          [...columns(points), points.map(({ offset }) => offset)],
        );
      }),
    assign: async (fence, wanted) => {
      await sign('end silent members', (client) => endSilentMembers(client, leaseMs));
      return act(fence, 'share out', (client) => assign(client, wanted, leaseMs));
    },
  };
}

function columns(places: readonly LogOffset[]): readonly [string[], number[]] {
  return [places.map(({ topic }) => topic), places.map(({ partition }) => partition)];
}

async function visit(
  client: pg.Client,
  member: bigint,
  note: HolderNote | null,
): Promise<ReadonlyMap<string, bigint> | null> {
  const known =
    note === null
      ? await client.query('SELECT FROM understudy.member WHERE number = $1', [member])
      : await client.query(
          `UPDATE understudy.member SET at = pg_catalog.clock_timestamp(), note = $2
            WHERE number = $1`,
          [member, JSON.stringify(note)],
        );
  return known.rowCount === 1 ? readGrants(client, member) : null;
}

async function readGrants(client: pg.Client, member: bigint): Promise<ReadonlyMap<string, bigint>> {
  const { rows } = await client.query<{ topic: string; partition: number; granted: bigint }>(
    'SELECT topic, partition, granted FROM understudy.share WHERE member = $1',
    [member],
  );
  return new Map(rows.map((row) => [partitionKey(row.topic, row.partition), row.granted]));
}

interface MemberRow {
  readonly number: bigint;
  readonly name: string;
  readonly note: string | null;
  readonly silentMs: number;
  readonly present: boolean;
  readonly topics: readonly string[];
  readonly partitions: readonly number[];
}

async function readMembers(client: pg.Client, leaseMs: number): Promise<readonly Member[]> {
  const { rows } = await client.query<MemberRow>(
    `SELECT m.number, m.name, m.note, ${MEMBER_SILENT_MS} AS "silentMs",
        ${MEMBER_PRESENT} AS present,
        ARRAY(SELECT topic FROM understudy.share WHERE member = m.number
          ORDER BY topic, partition) AS topics,
        ARRAY(SELECT partition FROM understudy.share WHERE member = m.number
          ORDER BY topic, partition) AS partitions
      FROM understudy.member m ORDER BY m.number`,
  );
  return rows.map(({ topics, partitions, note, silentMs, present, ...who }) => ({
    ...who,
    gone: !present || silentMs > leaseMs,
    silentMs: Math.max(0, Math.round(silentMs)),
    note: note === null ? null : (JSON.parse(note) as HolderNote),
    partitions: topics.map((topic, i) => partitionKey(topic, partitions[i] ?? 0)),
  }));
}

async function readHandOvers(client: pg.Client): Promise<readonly HandOver[]> {
  const { rows } = await client.query<LogOffset & { why: HandOverReason }>(
    `SELECT topic, partition, at_offset AS offset, why FROM understudy.hand_over
      ORDER BY topic, partition`,
  );
  return rows;
}

/** In the holder's transaction. */
async function assign(
  client: pg.Client,
  wanted: ReadonlyMap<string, bigint>,
  leaseMs: number,
): Promise<ReadonlyMap<string, bigint>> {
  const places = [...wanted].map(([key, member]) => ({ ...parsePartitionKey(key), member }));
  const given = [
    places.map(({ topic }) => topic),
    places.map(({ partition }) => partition),
    places.map(({ member }) => member),
  ];
  const list = `ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::int[]),
    pg_catalog.unnest($3::int8[])) AS g (topic, partition, member)`;
  await client.query(`SET LOCAL lock_timeout = '${REVOKE_WAIT}'`);
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
  const { rows } = await client.query<{ topic: string; partition: number; member: bigint }>(
    'SELECT topic, partition, member FROM understudy.share',
  );
  return new Map(rows.map((row) => [partitionKey(row.topic, row.partition), row.member]));
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
  const places = [...share.partitions].map(([key, granted]) => ({
    ...parsePartitionKey(key),
    granted,
  }));
  const foreign = [...moves.keys()].find((key) => !share.partitions.has(key));
  await client.query(BESIDE_WAIT);
  const { rowCount } = await client.query(
    `SELECT FROM understudy.share s JOIN ROWS FROM (pg_catalog.unnest($1::text[]),
        pg_catalog.unnest($2::int[]), pg_catalog.unnest($3::int8[])) AS g (topic, partition, granted)
        ON s.topic = g.topic AND s.partition = g.partition AND s.granted = g.granted
      WHERE s.member = $4 ORDER BY s.topic, s.partition FOR SHARE OF s`,
    [
      places.map(({ topic }) => topic),
      places.map(({ partition }) => partition),
      places.map(({ granted }) => granted),
      share.member,
    ],
  );
  if (foreign === undefined && rowCount === places.length) return;
  throw new UnderstudyError('FENCED', 'what this process was given was taken back', {
    database,
    ...(foreign !== undefined && parsePartitionKey(foreign)),
  });
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
  const { rows } = await client.query<{ topic: string; partition: number }>(
    'SELECT topic, partition FROM understudy.share',
  );
  const given = rows.find(({ topic, partition }) => moves.has(partitionKey(topic, partition)));
  if (given === undefined) return;
  throw new UnderstudyError('FENCED', 'the partition is given to a member', {
    database,
    topic: given.topic,
    partition: given.partition,
  });
}
