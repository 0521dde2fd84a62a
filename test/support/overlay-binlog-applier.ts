/**
 * Who applies to a rollout on MySQL and MariaDB in the overlay's torture: the product's own, and what others
 * are made of (naive-binlog.ts).
 */
import mysql, { type Connection, type RowDataPacket } from 'mysql2/promise';
import { RowShape } from '../../src/change/value.ts';
import {
  applyBatch,
  openApplySession,
  prepareActs,
  type ApplySession,
} from '../../src/dialect/mysql/apply/apply.ts';
import { readTables } from '../../src/dialect/mysql/catalogue/catalogue.ts';
import { sweepOverlay } from '../../src/dialect/mysql/overlay/release.ts';
import { resetOverlay } from '../../src/dialect/mysql/overlay/reset.ts';
import { ServerAddress } from '../../src/dialect/mysql/session/address.ts';
import { Client, transaction } from '../../src/dialect/mysql/session/client.ts';
import { readFlavour } from '../../src/dialect/mysql/session/flavour.ts';
import { isUnderstudyError } from '../../src/errors/understudy-error.ts';
import type { NetChange } from '../../src/order/change-batch.ts';
import { batchOf } from './overlay-applier.ts';
import type { HotChange } from './overlay-fire.ts';

/** Production's name for its database. */
export const SOURCE = 'prod';

/** What concurrent sessions may do to each other; anything else fails the seed. */
const COLLISIONS = new Set([1205, 1213, 1062, 1020]);
/** And what foreign keys forbid; MySQL also what leads from a table to itself and on. */
export const FORBIDDEN = new Set([...COLLISIONS, 1451, 1452, 6575]);

export function isCollision(error: unknown, which = COLLISIONS): boolean {
  return error instanceof Error && 'errno' in error && which.has(Number(error.errno));
}

/** Where a seed plays. */
export interface Place {
  readonly url: string;
  readonly database: string;
  readonly table: string;
}

export const journalOf = ({ database, table }: Place): string =>
  `\`${database}__understudy\`.\`${table}#journal\``;
export const logOf = ({ database }: Place): string => `${database}_log.written`;

/** Entries, as `j`, of which nothing is left. */
export function emptyEntries(place: Place): string {
  return `FROM ${journalOf(place)} j LEFT JOIN ${place.database}.${place.table} t ON t.id = j.id
    WHERE CASE WHEN t.id IS NULL THEN j.understudy_present = 0 ELSE j.understudy_present = 1
      AND t.a <=> j.a AND BINARY t.b <=> BINARY j.b AND BINARY t.c <=> BINARY j.c END`;
}

/** The part under test: what writes to a rollout beside the candidate. False: it gave way. */
export interface BinlogApplier {
  apply(changes: readonly HotChange[]): Promise<boolean>;
  reset(key: number | 'all'): Promise<boolean>;
  /** Gives up all that is production's again, part by part. */
  sweep(): Promise<boolean>;
  close(): Promise<void>;
}

export type OpenApplier = (place: Place) => Promise<BinlogApplier>;

const FULL = new RowShape(['id', 'a', 'b', 'c']);
const PARTIAL = new RowShape(['id', 'b']);

function netChange({ id, row, partial, from }: HotChange): NetChange {
  const key = [String(id)];
  if (row === null) return { kind: 'delete', key };
  const image = partial
    ? { shape: PARTIAL, values: [String(id), row.b] }
    : { shape: FULL, values: [String(id), row.a, row.b, row.c] };
  return { kind: 'upsert', key, from: [String(from)], complete: !partial, image };
}

export async function openProduct({ url, database }: Pick<Place, 'url' | 'database'>) {
  const client = await Client.connect(new ServerAddress(url, 'shadow.url'), database);
  await prepareActs(client, await readFlavour(client));
  const tables = await readTables(client, database, SOURCE);
  const session = await openApplySession(client, database, tables);
  const act = async (work: () => Promise<unknown>): Promise<boolean> => {
    try {
      await transaction(client, work);
      return true;
    } catch (error) {
      if (isUnderstudyError(error, 'APPLY_BLOCKED') || isCollision(error)) return false;
      throw error;
    }
  };
  return { client, session, act };
}

/** The product's own. */
export async function openProductApplier(place: Place): Promise<BinlogApplier> {
  const { table } = place;
  const { client, session, act } = await openProduct(place);
  const id = { schema: SOURCE, name: table };
  const stage = session.captured.get(`${SOURCE}.${table}`)?.stage ?? '';
  const released = async (which: string): Promise<void> => {
    await client.run(
      `INSERT INTO ${logOf(place)} (id, kind) SELECT s.c1, 'released' FROM ${stage} s WHERE ${which}
        AND NOT EXISTS (SELECT 1 FROM ${journalOf(place)} j WHERE j.id = s.c1)`,
    );
  };
  return {
    apply: (changes) =>
      act(async () => {
        const step = { kind: 'rows' as const, table: id, changes: changes.map(netChange) };
        await applyBatch(session, batchOf(step));
        await released('s.freed = 1');
      }),
    reset: (key) =>
      act(async () => {
        const only = key === 'all' ? { table: id } : { table: id, key: [String(key)] };
        if ((await resetOverlay(session, only)) > 0) await released('TRUE');
      }),
    sweep: () => sweepAll(session, act, () => released('s.freed = 1')),
    close: () => client.end(),
  };
}

export async function sweepAll(
  session: ApplySession,
  act: (work: () => Promise<unknown>) => Promise<boolean>,
  swept: () => Promise<void>,
): Promise<boolean> {
  let place: string | null = null;
  do {
    const from: string | null = place;
    const done = await act(async () => {
      const { released, next } = await sweepOverlay(session, from);
      place = next;
      if (released > 0) await swept();
    });
    if (!done) return false;
  } while (place !== null);
  return true;
}

export async function connectTo(url: string): Promise<Connection> {
  const client = await mysql.createConnection(url);
  // A session ended by force tells so here first; the statement in flight rejects as well.
  client.on('error', () => undefined);
  return client;
}

export async function rowsOf<Row>(client: Connection, sql: string): Promise<readonly Row[]> {
  const [rows] = await client.query<RowDataPacket[]>(sql);
  return rows as unknown as readonly Row[];
}
