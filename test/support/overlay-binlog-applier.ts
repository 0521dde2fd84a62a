/** The product's own applier, as the overlay's torture on MySQL and MariaDB drives it. */
import { setTimeout as pause } from 'node:timers/promises';
import {
  applyBatch,
  openApplySession,
  prepareActs,
  type ApplySession,
} from '../../src/dialect/mysql/apply/apply.ts';
import { readTables } from '../../src/dialect/mysql/catalogue/catalogue.ts';
import { resolveOverlay } from '../../src/dialect/mysql/overlay/conflicts.ts';
import { sweepOverlay } from '../../src/dialect/mysql/overlay/release.ts';
import { resetOverlay } from '../../src/dialect/mysql/overlay/reset.ts';
import { writeWaiting } from '../../src/dialect/mysql/overlay/write-waiting.ts';
import { ServerAddress } from '../../src/dialect/mysql/session/address.ts';
import { Client, transaction } from '../../src/dialect/mysql/session/client.ts';
import { readFlavour } from '../../src/dialect/mysql/session/flavour.ts';
import type { Side } from '../../src/overlay/conflict.ts';
import { isUnderstudyError } from '../../src/errors/understudy-error.ts';
import { netChange } from './hot-table.ts';
import { hotTable } from './overlay-binlog-tables.ts';
import { batchOf } from './overlay-applier.ts';
import type { HotChange } from './overlay-fire.ts';

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
export const waitingOf = ({ database, table }: Place): string =>
  `\`${database}__understudy\`.\`${table}#waiting\``;
export const logOf = ({ database }: Place): string => `${database}_log.written`;

/** The part under test: what writes to a rollout beside the candidate. False: it gave way. */
export interface BinlogApplier {
  apply(changes: readonly HotChange[]): Promise<boolean>;
  reset(key: number | 'all'): Promise<boolean>;
  /** Gives up all that is production's again, part by part. */
  sweep(): Promise<boolean>;
  /** Writes all that waits, when nobody writes any more. */
  settle(): Promise<boolean>;
  resolve(side: Side): Promise<boolean>;
  close(): Promise<void>;
}

export type OpenApplier = (place: Place) => Promise<BinlogApplier>;

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
  const captured = session.captured.get(`${SOURCE}.${table}`);
  const hot = hotTable(table);
  const staged = (name: string): string =>
    `s.${captured?.columns.find(({ schema }) => schema.name === name)?.staged ?? ''}`;
  const on = hot.key.map((name) => `j.${name} = ${staged(name)}`).join(' AND ');
  /** What is written for the candidate is its own, and in the log as what it writes. */
  const merged = async (): Promise<void> => {
    const of = (name: string): string => `t.${name}`;
    const same = hot.key.map((name) => `t.${name} = ${staged(name)}`).join(' AND ');
    await client.run(
      `INSERT INTO ${logOf(place)} (id, kind, a, b, c) SELECT ${hot.id(of)}, 'put', ${hot.a(of)}, t.b, t.c
        FROM ${captured?.stage ?? ''} s JOIN ${place.database}.${table} t ON ${same}
        JOIN ${journalOf(place)} j ON ${on} WHERE s.freed = 1`,
    );
  };
  return {
    apply: (changes) =>
      act(async () => {
        const step = {
          kind: 'rows' as const,
          table: id,
          changes: changes.map((one) => netChange(hot, one)),
        };
        await applyBatch(session, batchOf(step));
      }),
    reset: (key) =>
      act(async () => {
        const only = key === 'all' ? { table: id } : { table: id, key: hot.keyOf(key, '5') };
        await resetOverlay(session, only);
      }),
    sweep: () => sweepAll(session, act),
    settle: () => settleAll(session, act),
    resolve: (side) =>
      act(async () => {
        const { resolved, kept } = await resolveOverlay(session, { table: id }, side);
        // Else nothing was staged.
        if (resolved + kept > 0 && side === 'merge') await merged();
      }),
    close: () => client.end(),
  };
}

export async function sweepAll(
  session: ApplySession,
  act: (work: () => Promise<unknown>) => Promise<boolean>,
): Promise<boolean> {
  let place: string | null = null;
  do {
    const from: string | null = place;
    const done = await act(async () => {
      place = (await sweepOverlay(session, from)).next;
    });
    if (!done) return false;
  } while (place !== null);
  return true;
}

/** Nobody is at what waits any more: all of it is written, if not at once. */
export async function settleAll(
  session: ApplySession,
  act: (work: () => Promise<unknown>) => Promise<boolean>,
): Promise<boolean> {
  for (let left = 1; left > 0;) {
    const done = await act(async () => {
      ({ left } = await writeWaiting(session));
    });
    if (!done) return false;
    if (left > 0) await pause(100);
  }
  return true;
}
