/** Who follows which partitions (see the port): what every engine does around its statements. */
import {
  parsePartitionKey,
  partitionKey,
  type LogOffset,
  type OffsetMap,
} from '../../change/position.ts';
import type { ErrorCode } from '../../errors/codes.ts';
import { UnderstudyError } from '../../errors/understudy-error.ts';
import type { Fence, HolderNote } from '../dialect.ts';
import type { Share } from '../fence.ts';
import type { HandOver, Member, Sharing } from '../sharing.ts';
import { persistSign } from './applier-acts.ts';

export interface ShareRow {
  readonly topic: string;
  readonly partition: number;
  readonly member: bigint;
  readonly granted: bigint;
}

export interface MemberRow {
  readonly number: bigint;
  readonly name: string;
  /** JSON of a HolderNote. */
  readonly note: string | null;
  /** Since the last sign of life, by the database's clock. */
  readonly silentMs: number;
  /** Some session of the member is there. */
  readonly present: boolean;
}

/** The statements. */
export interface SharingTables {
  /** A new member, without its presence; its number. */
  addMember(name: string): Promise<bigint>;
  /** False if there is no such member. With a note, a sign of life as well. */
  visit(member: bigint, note: HolderNote | null): Promise<boolean>;
  /** The member, and all that it was given. */
  remove(member: bigint): Promise<void>;
  members(): Promise<readonly MemberRow[]>;
  /** Of one member, or with null of all, in the order of partitions. */
  shares(member: bigint | null): Promise<readonly ShareRow[]>;
  /** A point that lies further on than the one of its partition takes its place. */
  addHandOvers(points: readonly HandOver[]): Promise<void>;
  handOvers(): Promise<readonly HandOver[]>;
  /** Those that are not after these. */
  removeHandOvers(points: readonly LogOffset[]): Promise<void>;
  /** Ends the sessions of members that gave no sign of life for the lease. */
  endSilent(leaseMs: number): Promise<void>;
  /** In the holder's transaction, see `assign` of the port. */
  assign(wanted: ReadonlyMap<string, bigint>, leaseMs: number): Promise<void>;
}

/** A connection that heals itself. */
interface Signs<Client> {
  use<T>(
    what: { readonly doing: string; readonly otherwise: ErrorCode },
    fn: (client: Client) => Promise<T>,
  ): Promise<T>;
}

export interface SharingParts<Client> {
  /** For what must not wait for acts. */
  readonly signs: Signs<Client>;
  /** By the server's word, a statement met a lock or a deadlock. */
  readonly isBlocked: (error: unknown) => boolean;
  /** One transaction that reads, as of one moment. */
  readonly read: <T>(doing: string, fn: (client: Client) => Promise<T>) => Promise<T>;
  /** One transaction of the holder's, which may be beside members. */
  readonly act: <T>(fence: Fence, doing: string, fn: (client: Client) => Promise<T>) => Promise<T>;
  readonly transaction: <T>(client: Client, fn: () => Promise<T>) => Promise<T>;
  readonly tables: (client: Client) => SharingTables;
  /** Marks a session as one of the member's until it ends, unless it is. */
  readonly show: (client: Client, member: bigint) => Promise<void>;
  /** The shadow database, for errors. */
  readonly database: string;
  readonly leaseMs: number;
}

export function sqlSharing<Client>(parts: SharingParts<Client>): Sharing {
  const { read, act, transaction, show, leaseMs } = parts;
  const sign = <T>(
    doing: string,
    fn: (tables: SharingTables, client: Client) => Promise<T>,
  ): Promise<T> =>
    parts.signs.use({ doing, otherwise: 'INTERNAL' }, (client) =>
      persistSign(() => fn(parts.tables(client), client), parts),
    );
  return {
    join: (name) =>
      sign('join', (tables, client) =>
        transaction(client, async () => {
          const number = await tables.addMember(name);
          // Before the commit: else it would look gone for a moment.
          await show(client, number);
          return number;
        }),
      ),
    visit: (member, note) =>
      sign('look at what is shared', async (tables, client) => {
        await show(client, member);
        if (!(await tables.visit(member, note))) return null;
        const shares = await tables.shares(member);
        return new Map(shares.map((row) => [keyOf(row), row.granted]));
      }),
    leave: (member) =>
      sign('leave', (tables, client) => transaction(client, () => tables.remove(member))),
    handOver: (points) => sign('hand over', (tables) => tables.addHandOvers(points)),
    members: () =>
      read('read who shares', async (client) => {
        const tables = parts.tables(client);
        const rows = await tables.members();
        return toMembers(rows, await tables.shares(null), leaseMs);
      }),
    handOvers: () => read('read what is handed over', (client) => parts.tables(client).handOvers()),
    passed: (fence, points) =>
      act(fence, 'note what was passed', (client) => parts.tables(client).removeHandOvers(points)),
    assign: async (fence, wanted) => {
      await sign('end silent members', (tables) => tables.endSilent(leaseMs));
      return act(fence, 'share out', async (client) => {
        const tables = parts.tables(client);
        await tables.assign(wanted, leaseMs);
        const shares = await tables.shares(null);
        return new Map(shares.map((row) => [keyOf(row), row.member]));
      });
    },
  };
}

function keyOf({ topic, partition }: Pick<ShareRow, 'topic' | 'partition'>): string {
  return partitionKey(topic, partition);
}

function toMembers(
  rows: readonly MemberRow[],
  shares: readonly ShareRow[],
  leaseMs: number,
): readonly Member[] {
  const given = Map.groupBy(shares, ({ member }) => member);
  return rows.map(({ number, name, note, silentMs, present }) => ({
    ...{ number, name },
    gone: !present || silentMs > leaseMs,
    silentMs: Math.max(0, Math.round(silentMs)),
    note: note === null ? null : (JSON.parse(note) as HolderNote),
    partitions: (given.get(number) ?? []).map(keyOf),
  }));
}

/**
 * In a member's transaction, after a lock on these `shares` (those of the partitions that it believes
 * its own): FENCED if one is not its own any more, or the batch moves what it was not given.
 */
export function judgeShare(
  { member, partitions }: Share,
  shares: readonly ShareRow[],
  moves: OffsetMap,
  database: string,
): void {
  const foreign = [...moves.keys()].find((key) => !partitions.has(key));
  const own = shares.filter(
    (row) => row.member === member && partitions.get(keyOf(row)) === row.granted,
  );
  if (foreign === undefined && own.length === partitions.size) return;
  throw new UnderstudyError('FENCED', 'what this process was given was taken back', {
    database,
    ...(foreign !== undefined && parsePartitionKey(foreign)),
  });
}

/**
 * In the holder's transaction, while partitions are given to members: FENCED if the batch moves one
 * of these `shares`.
 */
export function judgeOwn(
  shares: readonly Pick<ShareRow, 'topic' | 'partition'>[],
  moves: OffsetMap,
  database: string,
): void {
  const given = shares.find((row) => moves.has(keyOf(row)));
  if (given === undefined) return;
  const { topic, partition } = given;
  const what = 'the partition is given to a member';
  throw new UnderstudyError('FENCED', what, { database, topic, partition });
}

/** Who may carry an act out but the holder while it is alone. */
export interface ActRights<Client> {
  /** It can be tried once only. Default false. */
  readonly once?: boolean;
  /** A member, if this resolves. Default: none. */
  readonly member?: (client: Client, share: Share) => Promise<void>;
  /** The holder beside members, if this resolves. Default: not. */
  readonly beside?: (client: Client) => Promise<void>;
}

/**
 * In the act's transaction, of which what it finds holds until its end. `isShared`: asserts the fence, and
 * tells whether partitions are given to members. Errors: FENCED, SHADOW_REWOUND, and INTERNAL for an act
 * that is the holder's alone.
 */
export async function assertMay<Client>(
  client: Client,
  act: { readonly fence: Fence; readonly doing: string; readonly database: string },
  rights: ActRights<Client>,
  isShared: () => Promise<boolean>,
): Promise<void> {
  const { fence, doing, database } = act;
  if (fence.share !== undefined) {
    if (rights.member === undefined) throw notAlone(doing, database);
    await rights.member(client, fence.share);
    return;
  }
  if (!(await isShared())) return;
  if (rights.beside === undefined) throw notAlone(doing, database);
  await rights.beside(client);
}

export function notAlone(doing: string, database: string): UnderstudyError {
  const what = `could not ${doing}: partitions are shared with other processes`;
  return new UnderstudyError('INTERNAL', what, { database });
}
