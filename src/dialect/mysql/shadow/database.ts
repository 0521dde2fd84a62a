/**
 * One shadow database: three connections, each opened when first needed. Acts run on the first,
 * signs of life on the second so that no act delays them, reads on the third.
 *
 * An act is one transaction that asserts the fence first. It has happened when its promise
 * resolves; it has not when it rejects, except with SHADOW_UNREACHABLE: if the connection broke
 * at the commit nobody knows, and the caller reads `progress` again.
 */
import { isUnderstudyError, UnderstudyError } from '../../../errors/understudy-error.ts';
import type { ErrorCode } from '../../../errors/codes.ts';
import type { ChangeBatch } from '../../../order/change-batch.ts';
import type { SchemaCatalogue } from '../../../schema/table-schema.ts';
import { sleep } from '../../../util/wait.ts';
import type {
  ApplyOutcome,
  BaseReader,
  DatabaseMarker,
  Fence,
  FenceState,
  GapCount,
  HolderNote,
  InstalledOverlay,
  OverlayCount,
  OverlayRow,
  ResumePoint,
  ShadowDatabase,
  StoredProgress,
  TableGaps,
} from '../../dialect.ts';
import { applyBatch, openApplySession, prepareActs, type ApplySession } from '../apply/apply.ts';
import { readTables } from '../catalogue/catalogue.ts';
import type { ServerAddress } from '../session/address.ts';
import { transaction, type Client } from '../session/client.ts';
import { Connection } from '../session/connection.ts';
import { ERRNO, hasErrno } from '../session/errors.ts';
import type { Flavour } from '../session/flavour.ts';
import type { HolderRole } from '../session/names.ts';
import {
  assertFence,
  prepareSigns,
  readFence,
  releaseFence,
  renewFence,
  showPresence,
  takeFence,
} from './fence.ts';
import { notOffered } from './not-offered.ts';
import { readProgress, readResumePoint, saveProgress } from './progress.ts';

/** How often a batch is tried that another session's locks refused. */
const ACT_TRIES = 4;
const ACT_PAUSE_MS = 20;

/** Of a batch that had been applied already. */
const NOTHING_NEW: ApplyOutcome = { rows: 0, owned: 0, repairs: 0 };

interface CachedSession {
  readonly session: ApplySession;
  readonly generation: bigint;
  /** It was read by an earlier act, so the schema may have changed since. */
  old: boolean;
}

export interface DatabaseParts {
  readonly address: ServerAddress;
  readonly flavour: Flavour;
  readonly name: string;
  readonly marker: DatabaseMarker;
  /** Name of the followed database in production. */
  readonly sourceDatabase: string;
  /** How long a silent holder keeps the fence. */
  readonly leaseMs: number;
}

export class MySqlShadowDatabase implements ShadowDatabase {
  readonly name: string;
  readonly marker: DatabaseMarker;
  readonly #source: string;
  readonly #leaseMs: number;
  readonly #acts: Connection;
  readonly #signs: Connection;
  readonly #reads: Connection;
  /** Sessions that already show the presence of a generation. */
  readonly #present = new WeakMap<Client, bigint>();
  #session: CachedSession | null = null;

  constructor(parts: DatabaseParts) {
    const { address, flavour, name: database } = parts;
    this.name = database;
    this.marker = parts.marker;
    this.#source = parts.sourceDatabase;
    this.#leaseMs = parts.leaseMs;
    const prepare = (client: Client): Promise<void> => prepareActs(client, flavour);
    this.#acts = new Connection({ address, database, prepare });
    this.#signs = new Connection({ address, database, prepare: prepareSigns });
    this.#reads = new Connection({ address, database });
  }

  catalogue(): Promise<SchemaCatalogue> {
    const what = { doing: 'read the catalogue', otherwise: 'READ_FAILED' } as const;
    return this.#reads.use(
      what,
      async (client) => (await readTables(client, this.name, this.#source)).catalogue,
    );
  }

  progress(): Promise<StoredProgress> {
    const what = { doing: 'read the progress', otherwise: 'READ_FAILED' } as const;
    return this.#reads.use(what, (client) =>
      transaction(client, () => readProgress(client, this.name), 'REPEATABLE READ'),
    );
  }

  resumePoint(): Promise<ResumePoint> {
    const what = { doing: 'read where to go on', otherwise: 'READ_FAILED' } as const;
    return this.#reads.use(what, (client) =>
      transaction(client, () => readResumePoint(client, this.name), 'REPEATABLE READ'),
    );
  }

  fenceState(): Promise<FenceState> {
    const what = { doing: 'read the fence', otherwise: 'INTERNAL' } as const;
    return this.#signs.use(what, (client) => readFence(client, this.name, this.#leaseMs));
  }

  async takeFence(holder: string): Promise<Fence | null> {
    const { name: database } = this;
    const what = { doing: 'take the fence', otherwise: 'INTERNAL' } as const;
    return this.#signs.use(what, async (client) => {
      const fence = await takeFence(client, { holder, leaseMs: this.#leaseMs, database });
      if (fence !== null) this.#present.set(client, fence.generation);
      return fence;
    });
  }

  async renewFence(fence: Fence, note: HolderNote): Promise<void> {
    const what = { doing: 'give a sign of life', otherwise: 'INTERNAL' } as const;
    await this.#signs.use(what, async (client) => {
      await this.#showPresence(client, fence, 'signs');
      await renewFence(client, fence, { note, database: this.name });
    });
  }

  async releaseFence(fence: Fence): Promise<void> {
    const what = { doing: 'give the fence back', otherwise: 'INTERNAL' } as const;
    await this.#signs.use(what, (client) => releaseFence(client, fence, this.name));
  }

  apply(fence: Fence, batch: ChangeBatch): Promise<ApplyOutcome> {
    return this.#act(fence, 'apply a batch', 'APPLY_FAILED', async (client) => {
      // First, since it waits for a commit of the same batch whose answer was lost. Written again,
      // rows that are to keep columns of rows that moved would take them from others.
      const isNew = await saveProgress(client, this.name, batch);
      if (!isNew) return NOTHING_NEW;
      return applyBatch(await this.#applySession(client, fence), batch);
    });
  }

  /** Full row images leave no value and no row unknown, and without them the connector stops. */
  gaps(): Promise<readonly TableGaps[]> {
    return Promise.resolve([]);
  }

  gapCounts(): Promise<readonly GapCount[]> {
    return Promise.resolve([]);
  }

  /** Binlogs have no transactions that are proven later: nothing is stored, nothing dropped. */
  proveVisible(): Promise<void> {
    return Promise.resolve();
  }

  installOverlay(): Promise<InstalledOverlay> {
    return Promise.reject(notOffered('rollouts'));
  }

  overlayCounts(): Promise<readonly OverlayCount[]> {
    return Promise.reject(notOffered('rollouts'));
  }

  overlayRows(): Promise<readonly OverlayRow[]> {
    return Promise.reject(notOffered('rollouts'));
  }

  resetOverlay(): Promise<number> {
    return Promise.reject(notOffered('rollouts'));
  }

  openBaseSnapshot(): Promise<BaseReader> {
    return Promise.reject(notOffered('drift checks'));
  }

  /** Waits for what runs. Does not give a fence back. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      [this.#acts, this.#signs, this.#reads].map((connection) => connection[Symbol.asyncDispose]()),
    );
  }

  /**
   * One fenced transaction, tried again a few times while it meets another session's locks, and
   * once with fresh knowledge of the schema when it fails otherwise: the schema may have changed.
   */
  #act<T>(
    fence: Fence,
    doing: string,
    otherwise: ErrorCode,
    fn: (client: Client) => Promise<T>,
  ): Promise<T> {
    return this.#acts.use({ doing, otherwise }, async (client) => {
      await this.#showPresence(client, fence, 'acts');
      for (let tries = 1; ; tries += 1) {
        try {
          return await transaction(client, async () => {
            await assertFence(client, fence, this.name);
            return fn(client);
          });
        } catch (error) {
          if (isBlocked(error)) {
            if (tries >= ACT_TRIES) throw blocked(error, this.name);
            await sleep(ACT_PAUSE_MS * tries * (0.5 + Math.random()));
          } else {
            const used = this.#session;
            this.#session = null;
            if (used?.old !== true || !mayBeStale(error)) throw error;
          }
        }
      }
    });
  }

  /** What the connection knows of the tables; read again under each new fence. */
  async #applySession(client: Client, fence: Fence): Promise<ApplySession> {
    const known = this.#session;
    if (known?.session.client === client && known.generation === fence.generation) {
      known.old = true;
      return known.session;
    }
    const tables = await readTables(client, this.name, this.#source);
    const session = await openApplySession(client, this.name, tables);
    this.#session = { session, generation: fence.generation, old: false };
    return session;
  }

  async #showPresence(client: Client, fence: Fence, role: HolderRole): Promise<void> {
    if (this.#present.get(client) === fence.generation) return;
    if (!(await showPresence(client, this.name, fence.generation, role, PRESENCE_WAIT_MS))) {
      // The server has not yet noticed that the connection before this one is gone.
      const what = 'an earlier session of this process is still there';
      throw new UnderstudyError('SHADOW_UNREACHABLE', what, { database: this.name });
    }
    this.#present.set(client, fence.generation);
  }
}

const PRESENCE_WAIT_MS = 5_000;

/** It met a lock or a deadlock: the same act may well succeed when tried again. */
function isBlocked(error: unknown): boolean {
  return (
    isUnderstudyError(error, 'APPLY_BLOCKED') ||
    hasErrno(error, ERRNO.lockWaitTimeout, ERRNO.deadlock)
  );
}

function blocked(error: unknown, database: string): UnderstudyError {
  if (error instanceof UnderstudyError) return error;
  const what = 'other sessions stood in the way';
  return new UnderstudyError('APPLY_BLOCKED', what, { database }, error);
}

/** What a table that was changed behind our back can lead to. */
function mayBeStale(error: unknown): boolean {
  return (
    isUnderstudyError(error, 'APPLY_FAILED', 'TABLE_UNKNOWN', 'COLUMN_UNKNOWN', 'KEY_MISSING') ||
    hasErrno(error, ERRNO.unknownColumn, ERRNO.noSuchTable)
  );
}
