/**
 * One shadow database: three connections, each opened when first needed. Acts run on the first,
 * signs of life on the second so that no act delays them, reads on the third.
 *
 * An act is one transaction that asserts the fence first. It has happened when its promise
 * resolves; it has not when it rejects, except with SHADOW_UNREACHABLE: if the connection broke
 * at the commit nobody knows, and the caller reads `progress` again.
 */
import type { TableId } from '../../../change/table-id.ts';
import type { ErrorCode } from '../../../errors/codes.ts';
import type { ChangeBatch } from '../../../order/change-batch.ts';
import type { SchemaCatalogue } from '../../../schema/table-schema.ts';
import type {
  ApplyOutcome,
  BaseReader,
  DatabaseMarker,
  Fence,
  FenceState,
  GapCount,
  HolderNote,
  InstalledOverlay,
  ResumePoint,
  RowSelection,
  StoredProgress,
  TableGaps,
} from '../../dialect.ts';
import type { CopyingShadow } from '../../copying.ts';
import type { EvolvingShadow, SchemaTarget } from '../../evolving.ts';
import type { CandidateRules, ReleasedRows, ResolvedRows, Swept } from '../../overlay.ts';
import type { Side } from '../../../overlay/conflict.ts';
import type { SharedShadow, Sharing } from '../../sharing.ts';
import { persistAct, persistPart, RememberedSession, sumOf } from '../../sql/applier-acts.ts';
import { assertMay, type ActRights } from '../../sql/sharing.ts';
import type { Migrations, MigratingShadow } from '../../migrating.ts';
import type { TopicLedger } from '../../topic-ledger.ts';
import type { ErrorCounting } from '../../possibly-ours.ts';
import type { Waiting, WaitingShadow } from '../../waiting.ts';
import { SqlDeadLetterBox } from '../../sql/dead-letter-box.ts';
import { saveDeadNotes, takeReplayed } from '../../sql/dead-letter-tables.ts';
import { transientFailure } from '../apply/apply-error.ts';
import { applyBatch, openApplySession, prepareActs, type ApplySession } from '../apply/apply.ts';
import { renderText } from '../apply/literal.ts';
import { readTables } from '../catalogue/catalogue.ts';
import type { Place } from '../overlay/install.ts';
import { beginMigration, endBegunMigration, endMigration } from '../overlay/migrating.ts';
import { recapture } from '../overlay/closed.ts';
import { installOverlay } from '../overlay/install.ts';
import { forgetOutcomes, releaseOverlay, sweepOverlay } from '../overlay/release.ts';
import { resolveOverlay } from '../overlay/conflicts.ts';
import { resetOverlay } from '../overlay/reset.ts';
import { guardReadOnly } from '../overlay/read-only.ts';
import { captureLost, findLostCapture } from '../overlay/watch.ts';
import { truncateOverlay } from '../overlay/truncate.ts';
import { readRaised } from '../overlay/raised.ts';
import type { ServerAddress } from '../session/address.ts';
import { transaction, type Client } from '../session/client.ts';
import { Connection } from '../session/connection.ts';
import { isBlocked, isStale } from '../session/errors.ts';
import type { Flavour } from '../session/flavour.ts';
import type { MemberRole } from '../session/names.ts';
import { PassedPlaces } from '../../sql/passed-places.ts';
import { notePassed } from './passed.ts';
import { OverlayReads } from './overlay-reads.ts';
import { schemaTarget } from './schema-target.ts';
import { MySqlCopyTarget } from './copy-target.ts';
import { openBaseReader } from './base-reader.ts';
import { topicLedger } from './topics.ts';
import { deadLetterTables, exactTablesOf, parkDead } from './dead-letters.ts';
import {
  assertFence,
  prepareSigns,
  readFence,
  releaseFence,
  renewFence,
  claimPresence,
  takeFence,
} from './fence.ts';
import { countGaps, readGaps } from './gaps.ts';
import { readProgress, readResumePoint, savePlaces, saveWhatIsKnown } from './progress.ts';
import { showMember } from './member-sessions.ts';
import { mysqlWaiting } from './waiting.ts';
import { readFacing } from './facing-catalogue.ts';
import { assertOwn, assertShare, beside, mysqlSharing } from './sharing.ts';

/** Of a batch that had been applied already. */
const NOTHING_NEW: ApplyOutcome = { rows: 0, owned: 0, repairs: 0 };

export interface DatabaseParts {
  readonly address: ServerAddress;
  readonly flavour: Flavour;
  readonly name: string;
  readonly marker: DatabaseMarker;
  /** Name of the followed database in production. */
  readonly sourceDatabase: string;
  /** How long a silent holder keeps the fence. */
  readonly leaseMs: number;
  /** What is not said: no table is isolated, and the candidate wins. */
  readonly rules?: CandidateRules;
}

export class MySqlShadowDatabase
  extends OverlayReads
  implements
    CopyingShadow,
    EvolvingShadow,
    MigratingShadow,
    SharedShadow,
    WaitingShadow,
    ErrorCounting
{
  readonly waiting: Waiting;
  readonly possiblyOurs: ErrorCounting['possiblyOurs'];
  readonly migrations: Migrations;
  readonly evolving: SchemaTarget;
  readonly sharing: Sharing;
  readonly name: string;
  readonly marker: DatabaseMarker;
  readonly deadLetters: SqlDeadLetterBox<Client>;
  readonly topics: TopicLedger;
  readonly copying: MySqlCopyTarget;
  readonly #address: ServerAddress;
  readonly #source: string;
  readonly #leaseMs: number;
  protected readonly rules: CandidateRules;
  readonly #passed = new PassedPlaces();
  readonly #acts: Connection;
  readonly #signs: Connection;
  readonly #reads: Connection;
  /** Sessions that already show the presence of a generation, or of a member (below zero). */
  readonly #present = new WeakMap<Client, bigint>();
  readonly #session = new RememberedSession<ApplySession>();

  constructor(parts: DatabaseParts) {
    super();
    const { address, flavour, name: database } = parts;
    this.name = database;
    this.marker = parts.marker;
    this.#address = address;
    this.#source = parts.sourceDatabase;
    this.#leaseMs = parts.leaseMs;
    this.rules = parts.rules ?? {};
    const prepare = (client: Client): Promise<void> => prepareActs(client, flavour);
    this.#acts = new Connection({ address, database, prepare });
    this.#signs = new Connection({ address, database, prepare: prepareSigns });
    this.#reads = new Connection({ address, database });
    this.copying = new MySqlCopyTarget({
      ...{ address, flavour, database, read: (doing, fn) => this.#read(doing, fn) },
      act: async (fence, doing, fn) => {
        await this.#act(fence, doing, 'APPLY_FAILED', fn);
      },
    });
    const source = this.#source;
    const read = <T>(doing: string, fn: (client: Client) => Promise<T>) => this.#read(doing, fn);
    const { waiting, settle } = mysqlWaiting({
      ...{ database, source, read },
      act: (fence, doing, fn) =>
        this.#act(
          fence,
          doing,
          'APPLY_FAILED',
          async (client) => fn(await this.#applySession(client, fence)),
          { member: (client, share) => assertShare(client, share, new Map(), database), beside },
        ),
    });
    this.waiting = waiting;
    this.possiblyOurs = () => this.#read('count errors', (client) => readRaised(client, parts));
    this.evolving = schemaTarget({
      ...{ address, database, source, isRollout: parts.marker.kind === 'rollout', settle },
      read,
      act: (fence, { doing, otherwise }, fn) => this.#act(fence, doing, otherwise, fn),
      forget: () => this.#session.forget(),
    });
    const migrate = <T>(fence: Fence, act: () => Promise<T>): Promise<T> =>
      this.#act(fence, 'let the candidate migrate', 'SCHEMA_FAILED', () => {
        this.#session.forget();
        return act();
      });
    this.migrations = {
      begin: async (fence, { renames }) => {
        await settle(fence);
        return migrate(fence, () => beginMigration(this.place, fence, renames));
      },
      end: (fence) => migrate(fence, () => endMigration(this.place, fence)),
    };
    this.sharing = mysqlSharing({
      ...{ signs: this.#signs, isBlocked, database, leaseMs: parts.leaseMs, read },
      act: (fence, doing, fn) => this.#act(fence, doing, 'APPLY_FAILED', fn, { beside }),
      show: (client, member) => this.#showMember(client, member, 'signs'),
    });
    const act = <T>(fence: Fence, doing: string, fn: (client: Client) => Promise<T>) =>
      this.#act(fence, doing, 'APPLY_FAILED', fn);
    this.topics = topicLedger(database, { read, act });
    this.deadLetters = new SqlDeadLetterBox<Client>({
      read: (doing, fn) => this.#read(doing, fn),
      act: (fence, { doing, otherwise }, fn) => this.#act(fence, doing, otherwise, fn),
      tables: (client) => deadLetterTables(client, database),
      exact: async (client) => exactTablesOf(await readTables(client, database, this.#source)),
      write: async (client, fence, batch) =>
        applyBatch(await this.#applySession(client, fence), batch),
      park: async (client, fence, ids) => {
        const { parked } = await this.#applySession(client, fence);
        for (const table of await parkDead(client, database, ids)) parked.add(table);
      },
    });
  }

  catalogue(): Promise<SchemaCatalogue> {
    const what = { doing: 'read the catalogue', otherwise: 'READ_FAILED' } as const;
    return this.#reads.use(what, (client) => readFacing(client, this.name, this.#source));
  }

  progress(): Promise<StoredProgress> {
    return this.#read('read the progress', (client) => readProgress(client, this.name));
  }

  resumePoint(): Promise<ResumePoint> {
    return this.#read('read where to go on', (client) => readResumePoint(client, this.name));
  }

  fenceState(): Promise<FenceState> {
    const what = { doing: 'read the fence', otherwise: 'INTERNAL' } as const;
    return this.#signs.use(what, (client) => readFence(client, this.name, this.#leaseMs));
  }

  protected readOverlay<T>(doing: string, fn: (client: Client) => Promise<T>): Promise<T> {
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
    if (fence !== null && this.marker.kind === 'rollout') await this.#recapture(fence);
    return fence;
  }

  /** What a crash left of a schema change. The fence is given back where that cannot be. */
  async #recapture(fence: Fence): Promise<void> {
    try {
      await this.#act(fence, 'capture what the candidate writes', 'SCHEMA_FAILED', async () => {
        if (await endBegunMigration(this.place, fence)) return;
        await recapture(this.place, fence);
      });
    } catch (error) {
      await this.releaseFence(fence);
      throw error;
    }
  }

  protected get place(): Place {
    const acts = this.rules.actingTriggers ?? null;
    return { address: this.#address, database: this.name, source: this.#source, acts };
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
    const { offsets } = batch.position;
    const act = (client: Client): Promise<ApplyOutcome> => this.#applyIn(client, fence, batch);
    return this.#act(fence, 'apply a batch', 'APPLY_FAILED', act, {
      member: (client, share) => assertShare(client, share, offsets, this.name),
      beside: (client) => assertOwn(client, offsets, this.name),
    });
  }

  applyTogether(fence: Fence, batches: AsyncIterable<ChangeBatch>): Promise<ApplyOutcome> {
    const what = ['apply a large transaction', 'APPLY_FAILED'] as const;
    const act = (client: Client): Promise<ApplyOutcome> =>
      sumOf(batches, (batch) =>
        persistPart(
          (sql) => client.run(sql),
          () => this.#applyIn(client, fence, batch),
          isBlocked,
        ),
      );
    return this.#act(fence, ...what, act, { once: true });
  }

  async #applyIn(client: Client, fence: Fence, batch: ChangeBatch): Promise<ApplyOutcome> {
    const { replayed = [], dead } = batch;
    const letters = deadLetterTables(client, this.name);
    if (replayed.length > 0 && !(await takeReplayed(letters, replayed))) return NOTHING_NEW;
    // First, since it waits for a commit of the same batch whose answer was lost. Written again,
    // rows that are to keep columns of rows that moved would take them from others.
    if (!(await savePlaces(client, this.name, batch))) return NOTHING_NEW;
    if (dead !== undefined) await saveDeadNotes(letters, dead, renderText);
    const outcome = await applyBatch(await this.#applySession(client, fence), batch);
    // One row for all who share: last, so that they wait for each other no longer than for a commit.
    await saveWhatIsKnown(client, this.name, batch, true);
    const isRollout = this.marker.kind === 'rollout';
    await this.#passed.noted(isRollout, () => notePassed(client, this.name));
    return outcome;
  }

  gaps(limit: number): Promise<readonly TableGaps[]> {
    return this.#read('read what is unknown', (client) => readGaps(client, this.name, limit));
  }

  gapCounts(): Promise<readonly GapCount[]> {
    return this.#read('count what is unknown', (client) => countGaps(client, this.name));
  }

  /** Binlogs have no transactions that are proven later: nothing is stored, nothing dropped. */
  proveVisible(): Promise<void> {
    return Promise.resolve();
  }

  /** On a session of its own, for each statement commits; under the act's hold of the fence. */
  installOverlay(fence: Fence): Promise<InstalledOverlay> {
    return this.#act(fence, 'install the overlay', 'SCHEMA_FAILED', async (client) => {
      this.#session.forget();
      await notePassed(client, this.name);
      return installOverlay(this.place, fence, this.rules.readOnly);
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

  sweepOverlay(fence: Fence, place: string | null): Promise<Swept> {
    return this.#act(fence, 'sweep the overlay', 'APPLY_FAILED', async (client) =>
      sweepOverlay(await this.#applySession(client, fence), place),
    );
  }

  resolveOverlay(fence: Fence, only: RowSelection, side: Side): Promise<ResolvedRows> {
    return this.#act(fence, 'resolve conflicts', 'APPLY_FAILED', async (client) =>
      resolveOverlay(await this.#applySession(client, fence), only, side),
    );
  }

  async watchCapture(fence: Fence): Promise<readonly TableId[]> {
    const what = ['look at what captures', 'SCHEMA_FAILED'] as const;
    const lost = await this.#act(fence, ...what, async (client) =>
      findLostCapture(await this.#applySession(client, fence)),
    );
    if (lost.length > 0)
      await this.#act(fence, ...what, () => captureLost(this.place, fence, lost));
    return lost;
  }

  /** Nobody sets them back who may not change tables. */
  watchNumbers(): Promise<readonly string[]> {
    return Promise.resolve([]);
  }

  guardReadOnly(fence: Fence): Promise<void> {
    return this.#act(fence, 'guard tables', 'SCHEMA_FAILED', async (client) =>
      guardReadOnly(client, this.place, fence, this.rules.readOnly),
    );
  }

  forgetOutcomes(fence: Fence, olderThanMs: number): Promise<number> {
    return this.#act(fence, 'forget outcomes', 'APPLY_FAILED', (client) =>
      forgetOutcomes(client, this.name, olderThanMs),
    );
  }

  /** On a session of its own, for it is read while all else goes on. */
  openBaseSnapshot(): Promise<BaseReader> {
    const { name: database } = this;
    return openBaseReader(this.#address, {
      ...{ database, source: this.#source, isRollout: this.marker.kind === 'rollout' },
    });
  }

  breakConnections(): void {
    for (const connection of [this.#acts, this.#signs]) connection.break();
  }

  /** Waits for what runs. Does not give a fence back. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      [this.#acts, this.#signs, this.#reads].map((connection) => connection[Symbol.asyncDispose]()),
    );
  }

  /** Of one moment, and writing nothing. */
  #read<T>(doing: string, fn: (client: Client) => Promise<T>): Promise<T> {
    return this.#reads.use({ doing, otherwise: 'READ_FAILED' }, (client) =>
      transaction(client, () => fn(client), 'REPEATABLE READ'),
    );
  }

  /** One fenced transaction; see `persistAct`. */
  #act<T>(
    fence: Fence,
    doing: string,
    otherwise: ErrorCode,
    fn: (client: Client) => Promise<T>,
    rules: ActRights<Client> = {},
  ): Promise<T> {
    return this.#acts.use({ doing, otherwise }, async (client) => {
      await this.#showPresence(client, fence, 'acts');
      const act = (): Promise<T> =>
        transaction(client, async () => {
          try {
            await assertMay(client, { fence, doing, database: this.name }, rules, () =>
              assertFence(client, fence, this.name),
            );
            return await fn(client);
          } catch (error) {
            // Of our own tables; those of the rows say themselves what it is.
            throw transientFailure(error, this.name) ?? error;
          }
        });
      return persistAct(act, {
        once: rules.once ?? false,
        ...{ database: this.name, others: 'other sessions', isBlocked, isStale },
        forget: () => this.#session.forget(),
      });
    });
  }

  /** What the connection knows of the tables; read again under each new fence. */
  #applySession(client: Client, fence: Fence): Promise<ApplySession> {
    return this.#session.get(client, fence, async () =>
      openApplySession(
        client,
        this.name,
        await readTables(client, this.name, this.#source),
        this.rules,
      ),
    );
  }

  async #showPresence(client: Client, fence: Fence, role: MemberRole): Promise<void> {
    if (fence.share !== undefined) return this.#showMember(client, fence.share.member, role);
    if (this.#present.get(client) === fence.generation) return;
    await claimPresence(client, this.name, fence, role);
    this.#present.set(client, fence.generation);
  }

  async #showMember(client: Client, member: bigint, role: MemberRole): Promise<void> {
    if (this.#present.get(client) === -member) return;
    await showMember(client, this.name, member, role);
    this.#present.set(client, -member);
  }
}
