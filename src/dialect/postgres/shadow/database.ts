/**
 * One shadow database: three connections, each opened when first needed. Acts run on the first,
 * signs of life on the second so that no act delays them, reads on the third.
 *
 * An act is one transaction that asserts the fence first. It has happened when its promise
 * resolves; it has not when it rejects, except with SHADOW_UNREACHABLE: if the connection broke
 * at the commit nobody knows. The same batch may then be applied again: its position tells.
 */
import type { CandidateRules } from '../../overlay.ts';
import type pg from 'pg';
import type { TableId } from '../../../change/table-id.ts';
import type { ErrorCode } from '../../../errors/codes.ts';
import type { ChangeBatch } from '../../../order/change-batch.ts';
import { withFormerColumns } from '../../../schema/former-columns.ts';
import { withFormerNames } from '../../../schema/table-renames.ts';
import type { SchemaCatalogue } from '../../../schema/table-schema.ts';
import type { CopyingShadow } from '../../copying.ts';
import type { EvolvingShadow, SchemaTarget } from '../../evolving.ts';
import type { ReleasedRows, Swept } from '../../overlay.ts';
import type { Side } from '../../../overlay/conflict.ts';
import type { ResolvedRows } from '../../overlay.ts';
import type { ErrorCounting, PossiblyOurs } from '../../possibly-ours.ts';
import type { SharedShadow, Sharing } from '../../sharing.ts';
import type {
  ApplyOutcome,
  BaseReader,
  DatabaseMarker,
  Fence,
  FenceState,
  GapCount,
  HolderNote,
  InstalledOverlay,
  RowSelection,
  ResumePoint,
  StoredProgress,
  TableGaps,
} from '../../dialect.ts';
import { persistAct, persistPart, RememberedSession, sumOf } from '../../sql/applier-acts.ts';
import { assertMay, type ActRights } from '../../sql/sharing.ts';
import type { Migrations, MigratingShadow, SelfMigratingShadow } from '../../migrating.ts';
import { facing } from '../../sql/reshaped.ts';
import { LockPatience, PART_PATIENCE_MS } from '../../sql/lock-patience.ts';
import type { TopicLedger } from '../../topic-ledger.ts';
import type { Waiting, WaitingShadow } from '../../waiting.ts';
import { SqlDeadLetterBox } from '../../sql/dead-letter-box.ts';
import { saveDeadNotes, takeReplayed } from '../../sql/dead-letter-tables.ts';
import {
  applierSession,
  applyBatch,
  openApplySession,
  prepareReading,
  type ApplySession,
} from '../apply/apply.ts';
import { applyFailure } from '../apply/apply-error.ts';
import { saveImages } from '../apply/dead-images.ts';
import { assertFollows, readApplierRights, readSparedAccount } from '../apply/applier-rights.ts';
import { guardTables, installOverlay } from '../overlay/capture.ts';
import { readCatalogue } from '../catalogue/catalogue.ts';
import { hasSqlState, SQLSTATE } from '../session/errors.ts';
import { readFormerColumns } from './former-columns.ts';
import { PassedPlaces } from '../../sql/passed-places.ts';
import { notePassed } from './passed.ts';
import { OverlayReads } from './overlay-reads.ts';
import { schemaTarget } from './schema-target.ts';
import { PgCopyTarget } from './copy-target.ts';
import { readRenames } from './renamed-tables.ts';
import { topicLedger } from './topics.ts';
import { deadLetterTables, parkDead, readExactTables } from './dead-letters.ts';
import {
  askFence,
  judgeFence,
  readFence,
  releaseFence,
  renewFence,
  showPresence,
  takeFence,
} from './fence.ts';
import { isMigrating } from '../overlay/migrating.ts';
import { ASK_BEGUN, noteBeginning, noteChanged } from '../overlay/self-migrating.ts';
import { watchSequences } from '../overlay/sequences-above.ts';
import { watchCapture } from '../overlay/watch.ts';
import { readReshapes } from '../overlay/reshapes.ts';
import { openBaseReader } from './base-reader.ts';
import { pgMigrations } from './migrations.ts';
import { BEGUN, SelfMigrations, type ChangingAct } from './self-migrations.ts';
import { pgWaiting } from './waiting.ts';
import { forgetOutcomes, releaseOverlay, sweepOverlay } from '../overlay/release.ts';
import { resetOverlay } from '../overlay/reset.ts';
import { truncateOverlay } from '../overlay/truncate.ts';
import { readRaised } from '../overlay/raised.ts';
import { resolveOverlay } from '../overlay/resolve.ts';
import { countGaps, readGaps } from './gaps.ts';
import {
  forgetProven,
  readProgress,
  readResumePoint,
  savePlaces,
  saveWhatIsKnown,
} from './progress.ts';
import { assertOwn, assertShare, pgSharing } from './sharing.ts';
import { showMember } from './member-sessions.ts';
import { Connection, transaction, type ServerAddress } from '../session/session.ts';
import { renderText } from '../session/types.ts';

/** Of a batch that had been applied already. */
const NOTHING_NEW: ApplyOutcome = { rows: 0, owned: 0, repairs: 0 };

export interface DatabaseParts {
  readonly address: ServerAddress;
  readonly name: string;
  readonly marker: DatabaseMarker;
  /** How long a silent holder keeps the fence. */
  readonly leaseMs: number;
  readonly rules?: CandidateRules;
}

export class PgShadowDatabase
  extends OverlayReads
  implements
    CopyingShadow,
    EvolvingShadow,
    MigratingShadow,
    SelfMigratingShadow,
    SharedShadow,
    WaitingShadow,
    ErrorCounting
{
  readonly migrations: Migrations;
  readonly byItself: SelfMigrations;
  readonly evolving: SchemaTarget;
  readonly sharing: Sharing;
  readonly copying: PgCopyTarget;
  readonly deadLetters: SqlDeadLetterBox<pg.Client>;
  readonly topics: TopicLedger;
  readonly waiting: Waiting;
  readonly name: string;
  readonly marker: DatabaseMarker;
  readonly #address: ServerAddress;
  readonly #leaseMs: number;
  protected readonly rules: CandidateRules;
  readonly #passed = new PassedPlaces();
  readonly #acts: Connection;
  readonly #signs: Connection;
  readonly #reads: Connection;
  /** Sessions that already show the presence of a generation. */
  readonly #present = new WeakMap<pg.Client, bigint>();
  readonly #session = new RememberedSession<ApplySession>();
  readonly #patience = new LockPatience(isBlocked);

  constructor(parts: DatabaseParts) {
    super();
    const { address, name: database } = parts;
    this.name = database;
    this.marker = parts.marker;
    this.#address = address;
    this.#leaseMs = parts.leaseMs;
    this.rules = parts.rules ?? {};
    this.#acts = new Connection({ address, database, role: 'apply', prepare: prepareActs });
    this.#signs = new Connection({ address, database, role: 'fence' });
    this.#reads = new Connection({ address, database, role: 'read', prepare: prepareReading });
    this.copying = new PgCopyTarget(address, database);
    const read = <T>(doing: string, fn: (client: pg.Client) => Promise<T>) => this.#read(doing, fn);
    const session = (client: pg.Client, fence: Fence) => this.#applySession(client, fence);
    const forget = () => this.#session.forget();
    const beside = { beside: () => Promise.resolve() };
    const changing: ChangingAct = (fence, doing, fn, rights) =>
      this.#act(fence, doing, 'SCHEMA_FAILED', fn, rights);
    const { rules } = this;
    this.byItself = new SelfMigrations({ database, forget, read, rules, act: changing });
    this.evolving = schemaTarget({
      ...{ read, session, forget },
      act: (fence, { doing, otherwise }, fn) =>
        this.#act(fence, doing, otherwise, async (client) => {
          const result = await fn(client);
          await noteBeginning(client, database);
          return result;
        }),
    });
    this.migrations = pgMigrations({ address, database, session, forget, act: changing });
    this.sharing = pgSharing({
      ...{ read, signs: this.#signs, isBlocked, database, leaseMs: parts.leaseMs },
      act: (fence, doing, fn) => this.#act(fence, doing, 'APPLY_FAILED', fn, beside),
    });
    this.topics = topicLedger({
      read,
      act: (fence, doing, fn) => this.#act(fence, doing, 'APPLY_FAILED', fn),
    });
    this.waiting = pgWaiting({
      ...{ read, session },
      act: (fence, doing, fn) => this.#act(fence, doing, 'APPLY_FAILED', fn, beside),
    });
    this.deadLetters = new SqlDeadLetterBox<pg.Client>({
      ...{ read, tables: deadLetterTables, exact: readExactTables },
      act: (fence, { doing, otherwise }, fn) => this.#act(fence, doing, otherwise, fn),
      write: (client, fence, batch) =>
        this.#patience.try(async (parks) =>
          applyBatch(await session(client, fence), batch, new Set(), parks),
        ),
      park: async (client, fence, ids) => parkDead(await session(client, fence), ids),
    });
  }

  catalogue(): Promise<SchemaCatalogue> {
    return this.#read('read the catalogue', async (client) =>
      withFormerNames(
        withFormerColumns(
          facing(await readCatalogue(client), await readReshapes(client)),
          await readFormerColumns(client),
        ),
        await readRenames(client),
      ),
    );
  }

  progress(): Promise<StoredProgress> {
    return this.#read('read the progress', (client) => readProgress(client));
  }

  resumePoint(): Promise<ResumePoint> {
    return this.#read('read where to go on', (client) => readResumePoint(client));
  }

  gaps(limit: number): Promise<readonly TableGaps[]> {
    return this.#read('read what is unknown', (client) => readGaps(client, limit));
  }

  gapCounts(): Promise<readonly GapCount[]> {
    return this.#read('count what is unknown', (client) => countGaps(client));
  }

  fenceState(): Promise<FenceState> {
    const what = { doing: 'read the fence', otherwise: 'INTERNAL' } as const;
    return this.#signs.use(what, (client) => readFence(client, this.#leaseMs));
  }

  protected readOverlay<T>(doing: string, fn: (client: pg.Client) => Promise<T>): Promise<T> {
    return this.#read(doing, fn);
  }

  async takeFence(holder: string): Promise<Fence | null> {
    const { name: database } = this;
    const what = { doing: 'take the fence', otherwise: 'INTERNAL' } as const;
    const fence = await this.#signs.use(what, async (client) => {
      const taken = await takeFence(client, { holder, leaseMs: this.#leaseMs, database });
      if (taken !== null) this.#present.set(client, taken.generation);
      return taken;
    });
    if (fence !== null && this.marker.kind === 'rollout') await this.#endBegunMigration(fence);
    return fence;
  }

  /** What a crash left of one. The fence is given back where that cannot be ended. */
  async #endBegunMigration(fence: Fence): Promise<void> {
    try {
      if (await this.#read('look for a migration', isMigrating)) await this.migrations.end(fence);
      else await this.byItself.note(fence);
    } catch (error) {
      await this.releaseFence(fence);
      throw error;
    }
  }

  async renewFence(fence: Fence, note: HolderNote): Promise<void> {
    const what = { doing: 'give a sign of life', otherwise: 'INTERNAL' } as const;
    await this.#signs.use(what, async (client) => {
      await this.#showPresence(client, fence);
      await renewFence(client, fence, { note, database: this.name });
    });
  }

  async releaseFence(fence: Fence): Promise<void> {
    const what = { doing: 'give the fence back', otherwise: 'INTERNAL' } as const;
    await this.#signs.use(what, (client) => releaseFence(client, fence));
  }

  apply(fence: Fence, batch: ChangeBatch): Promise<ApplyOutcome> {
    const { offsets } = batch.position;
    const act = (client: pg.Client): Promise<ApplyOutcome> =>
      this.#patience.try((parks) =>
        this.#applyIn(client, fence, batch, { used: new Set(), parks }),
      );
    return this.#act(fence, 'apply a batch', 'APPLY_FAILED', act, {
      member: (client, share) => assertShare(client, share, offsets, this.name),
      beside: (client) => assertOwn(client, offsets, this.name),
    });
  }

  applyTogether(fence: Fence, batches: AsyncIterable<ChangeBatch>): Promise<ApplyOutcome> {
    const what = ['apply a large transaction', 'APPLY_FAILED'] as const;
    const act = async (client: pg.Client): Promise<ApplyOutcome> => {
      const used = new Set<string>();
      return sumOf(batches, (batch) => {
        const patience = new LockPatience(isBlocked, PART_PATIENCE_MS);
        return persistPart(
          (sql) => client.query(sql),
          () => patience.try((parks) => this.#applyIn(client, fence, batch, { used, parks })),
          isBlocked,
        );
      });
    };
    return this.#act(fence, ...what, act, { once: true });
  }

  async #applyIn(
    client: pg.Client,
    fence: Fence,
    batch: ChangeBatch,
    { used, parks }: { readonly used: Set<string>; readonly parks: boolean },
  ): Promise<ApplyOutcome> {
    const { replayed = [], dead } = batch;
    const letters = deadLetterTables(client);
    if (replayed.length > 0 && !(await takeReplayed(letters, replayed))) return NOTHING_NEW;
    const refused = (error: unknown): never => {
      throw applyFailure(error, 'understudy.position');
    };
    // First, since it waits for a commit of the same batch whose answer was lost. Written again,
    // rows that are to keep columns of rows that moved would take them from others.
    if (!(await savePlaces(client, batch).catch(refused))) return NOTHING_NEW;
    if (dead !== undefined) await saveDeadNotes(letters, dead, (value) => renderText(value));
    const session = await this.#applySession(client, fence);
    const outcome = await applyBatch(session, batch, used, parks);
    if (batch.images !== undefined) await saveImages(session, batch.images);
    // One row for all who share: last, so that they wait for each other no longer than for a commit.
    await saveWhatIsKnown(client, batch, true).catch(refused);
    await this.#passed.noted(this.marker.kind === 'rollout', () => notePassed(client));
    return outcome;
  }

  async proveVisible(fence: Fence, txIds: readonly number[]): Promise<void> {
    if (txIds.length === 0) return;
    await this.#act(fence, 'save what was proven', 'APPLY_FAILED', (client) =>
      forgetProven(client, txIds),
    );
  }

  installOverlay(fence: Fence): Promise<InstalledOverlay> {
    return this.#act(fence, 'install the overlay', 'SCHEMA_FAILED', async (client) => {
      this.#session.forget();
      await notePassed(client);
      const installed = await installOverlay(client, await readSparedAccount(client), this.rules);
      return { ...installed, triggersLeft: [] };
    });
  }

  resetOverlay(fence: Fence, only: RowSelection): Promise<number> {
    return this.#act(fence, 'reset rows', 'APPLY_FAILED', async (client) =>
      resetOverlay(await this.#applySession(client, fence), only),
    );
  }

  truncateOverlay(fence: Fence, table: TableId): Promise<number> {
    return this.#act(fence, 'truncate a table', 'APPLY_FAILED', async (client) =>
      truncateOverlay(await this.#applySession(client, fence), table),
    );
  }

  releaseOverlay(fence: Fence, only: RowSelection): Promise<ReleasedRows> {
    return this.#act(fence, 'release rows', 'APPLY_FAILED', async (client) =>
      releaseOverlay(await this.#applySession(client, fence), only),
    );
  }

  resolveOverlay(fence: Fence, only: RowSelection, side: Side): Promise<ResolvedRows> {
    return this.#act(fence, 'resolve conflicts', 'APPLY_FAILED', async (client) =>
      resolveOverlay(await this.#applySession(client, fence), only, side),
    );
  }

  sweepOverlay(fence: Fence, place: string | null): Promise<Swept> {
    return this.#act(fence, 'sweep the overlay', 'APPLY_FAILED', async (client) =>
      sweepOverlay(await this.#applySession(client, fence), place),
    );
  }

  watchCapture(fence: Fence): Promise<readonly TableId[]> {
    return watchCapture(this.name, (fn) =>
      this.#act(fence, 'look at what captures', 'SCHEMA_FAILED', fn),
    );
  }

  watchNumbers(fence: Fence): Promise<readonly string[]> {
    return this.#act(fence, 'look at numbers', 'APPLY_FAILED', watchSequences);
  }

  guardReadOnly(fence: Fence): Promise<void> {
    return this.#act(fence, 'guard tables', 'SCHEMA_FAILED', async (client) => {
      await guardTables(client, await readSparedAccount(client), this.rules);
      await noteChanged(client, this.name);
    });
  }

  async possiblyOurs(): Promise<PossiblyOurs | null> {
    if (this.marker.kind === 'trunk') return null;
    return this.#read('count errors', readRaised);
  }

  forgetOutcomes(fence: Fence, olderThanMs: number): Promise<number> {
    return this.#act(fence, 'forget outcomes', 'APPLY_FAILED', (client) =>
      forgetOutcomes(client, olderThanMs),
    );
  }

  openBaseSnapshot(): Promise<BaseReader> {
    return openBaseReader(this.#address, this.name);
  }

  breakConnections(): void {
    for (const connection of [this.#acts, this.#signs]) connection.break();
  }

  /** Waits for what runs. Does not give a fence back. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      [this.#acts, this.#signs, this.#reads, this.copying].map((part) =>
        part[Symbol.asyncDispose](),
      ),
    );
  }

  /** Of one moment, and writing nothing. */
  #read<T>(doing: string, fn: (client: pg.Client) => Promise<T>): Promise<T> {
    return this.#reads.use({ doing, otherwise: 'READ_FAILED' }, (client) =>
      transaction(client, () => fn(client), 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY'),
    );
  }

  /**
   * One fenced transaction; see `persistAct`. If the candidate began a migration it is ended first, but for
   * what `ends` one.
   */
  #act<T>(
    fence: Fence,
    doing: string,
    otherwise: ErrorCode,
    fn: (client: pg.Client) => Promise<T>,
    rules: ActRights<pg.Client> & { readonly ends?: boolean } = {},
  ): Promise<T> {
    const asks = this.marker.kind === 'rollout';
    const one = (): Promise<T | typeof BEGUN> =>
      this.#acts.use({ doing, otherwise }, async (client) => {
        await this.#showPresence(client, fence);
        // A member's own place is asked for instead, which takes more than one statement.
        const asked = asks ? [askFence(fence), ASK_BEGUN] : [askFence(fence)];
        const first = fence.share === undefined ? asked : [];
        const act = (): Promise<T | typeof BEGUN> =>
          transaction(
            client,
            async ([, answer, ...begun]) => {
              const what = { fence, doing, database: this.name };
              await assertMay(client, what, rules, () =>
                judgeFence(client, answer, fence, this.name),
              );
              const isBegun = asks && (await this.byItself.isBegun(client, fence, begun));
              return isBegun && rules.ends !== true ? BEGUN : fn(client);
            },
            ['BEGIN ISOLATION LEVEL READ COMMITTED', ...first].join('; '),
          );
        return persistAct(act, {
          once: rules.once ?? false,
          ...{ database: this.name, others: 'sessions of the candidate', isBlocked, isStale },
          forget: () => this.#session.forget(),
        });
      });
    return this.byItself.whenNone(fence, one);
  }

  /** What the connection knows of the tables; read again under each new fence. */
  #applySession(client: pg.Client, fence: Fence): Promise<ApplySession> {
    return this.#session.get(client, fence, async () => {
      const spared = await readSparedAccount(client);
      return openApplySession(client, await readCatalogue(client), { ...this.rules, spared });
    });
  }

  async #showPresence(client: pg.Client, fence: Fence): Promise<void> {
    const who = fence.share === undefined ? fence.generation : -fence.share.member;
    if (this.#present.get(client) === who) return;
    if (fence.share === undefined) await showPresence(client, fence.generation);
    else await showMember(client, fence.share.member);
    this.#present.set(client, who);
  }
}

/** DATABASE_PERMISSION if the account cannot follow the database in the mode it was made in. */
async function prepareActs(client: pg.Client): Promise<void> {
  const spared = await readSparedAccount(client);
  const { deadlockTimeout, ...rights } = await readApplierRights(client);
  assertFollows({ deadlockTimeout, ...rights }, spared);
  await client.query(applierSession({ replica: spared === null, deadlockTimeout }));
}

function isBlocked(error: unknown): boolean {
  const { lockNotAvailable, deadlockDetected, serializationFailure } = SQLSTATE;
  return hasSqlState(error, lockNotAvailable, deadlockDetected, serializationFailure);
}

function isStale(error: unknown): boolean {
  return hasSqlState(error, SQLSTATE.undefinedColumn, SQLSTATE.undefinedTable);
}
