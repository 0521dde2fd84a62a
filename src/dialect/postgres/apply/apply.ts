import type { PairsOn } from '../../../overlay/pairing.ts';
import type { CandidateRules, Isolates } from '../../overlay.ts';
import { OVERLAY_WINS, type PolicyOf } from '../../../overlay/policy.ts';
import type { ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { BagChange, BatchStep, ChangeBatch, NetChange } from '../../../order/change-batch.ts';
import type { SchemaCatalogue } from '../../../schema/table-schema.ts';
import { unreachable } from '../../../util/assert.ts';
import type { ApplyOutcome } from '../../dialect.ts';
import { applyBag } from './apply-bag.ts';
import { applyFailure } from './apply-error.ts';
import { applyRows } from './apply-rows.ts';
import { describeTable, resolveTable, type ApplyTable } from './apply-table.ts';
import { truncateLedgers, truncateTrunk } from './apply-truncate.ts';
import { truncateParking } from './truncate-waiting.ts';
import type { StepContext, StepOutcome } from './step.ts';
import { clearStage } from './apply-sql.ts';
import type { SparedAccount } from './applier-rights.ts';
import { assertSpared } from '../shadow/fallback-schema.ts';
import { readComparisons, type Comparisons } from '../catalogue/key-facts.ts';
import { readCaptured, touchCaptured, type CapturedTables } from '../overlay/journal.ts';
import { sourceText } from '../../../change/stored-source.ts';
import { areFresh, copyFresh, FreshTables } from './copy-fresh.ts';
import { readKept, type KeptTables } from '../overlay/reshapes.ts';
import { Queueing, readWaitingLabels, type WaitingTables } from '../overlay/waiting.ts';
import { originOf, rulesOf, splitSteps, withOwnOpen } from '../../sql/reshaped.ts';
import { readLedgers, type Ledgers } from './ledgers.ts';
import { ensureStages, type KnownStages } from './stage.ts';

/** Whatever the server, the database or the account has: texts of values are compared, and kept. */
const ONE_TEXT_FORM = `SET DateStyle = 'ISO, YMD'; SET IntervalStyle = postgres; SET TimeZone = 'UTC';
  SET extra_float_digits = 1; SET bytea_output = hex; SET lc_monetary = 'C'`;

/** Of a session that reads values as texts. */
export async function prepareReading(client: ClientBase): Promise<void> {
  await client.query(ONE_TEXT_FORM);
}

/**
 * Settings of a session that applies, set once per connection.
 * - replica role: neither our capture triggers nor production's triggers and foreign keys act. Not
 *   in fallback mode, see applier-rights.ts.
 * - lock_timeout and deadlock_timeout: the batch gives way to a candidate, and is tried again. An
 *   account that may not set the latter has the server's, which lock_timeout is shorter than.
 * - no hash or merge join: a batch of keys must not read the whole table.
 * - an empty search_path: names are qualified, and a candidate's operators are never found.
 * - row_security off: a policy that would hide rows from us is an error.
 * - one text form for every value: keys of the ledgers are kept as text.
 */
export function applierSession(may: {
  readonly replica: boolean;
  readonly deadlockTimeout: boolean;
}): string {
  return [
    ...(may.replica ? ['SET session_replication_role = replica'] : []),
    ...(may.deadlockTimeout ? [`SET deadlock_timeout = '20ms'`] : []),
    `SET lock_timeout = '50ms'`,
    'SET enable_hashjoin = off; SET enable_mergejoin = off',
    `SET search_path = ''; SET row_security = off`,
    ONE_TEXT_FORM,
  ].join('; ');
}

/** As above, in replica mode with all rights. */
export const applierSessionSql = applierSession({ replica: true, deadlockTimeout: true });

/**
 * What a connection knows while it applies. Made once per connection and again after any change
 * of the schema or installing of an overlay.
 */
export interface ApplySession extends KeptTables {
  readonly client: ClientBase;
  readonly catalogue: SchemaCatalogue;
  readonly comparisons: Comparisons;
  /** Journals of captured tables; null on a trunk. */
  readonly captured: CapturedTables | null;
  readonly described: Map<string, ApplyTable>;
  readonly ledgers: Ledgers;
  readonly fresh: FreshTables;
  /** Staging tables that are there, from transactions that were committed. */
  readonly staged: Set<string>;
  /** In fallback mode, the account that triggers spare. */
  readonly spared: SparedAccount;
  readonly isolates: Isolates;
  readonly policies: PolicyOf<TableId>;
  readonly pairsOn: PairsOn | null;
  /** Of the batch that is applied; null on a trunk. */
  readonly waiting: WaitingTables | null;
}

/**
 * Opens the session on a client that has run `applierSession`. APPLY_FAILED if in fallback mode
 * the schema does not spare the account.
 */
export async function openApplySession(
  client: ClientBase,
  catalogue: SchemaCatalogue,
  options: CandidateRules & { readonly spared?: SparedAccount } = {},
): Promise<ApplySession> {
  const { spared = null, isolates = () => false, policies = () => OVERLAY_WINS } = options;
  const { pairsOn = null } = options;
  if (spared !== null) await assertSpared(client, spared);
  const comparisons = await readComparisons(client);
  const captured = await readCaptured(client);
  return {
    ...{ spared, isolates, policies, pairsOn },
    ...(await readKept(client, comparisons)),
    client,
    catalogue,
    comparisons,
    captured,
    waiting:
      captured === null ? null : { tables: new Set(), parks: false, queueing: new Queueing() },
    described: new Map(),
    fresh: new FreshTables(),
    staged: new Set(),
    ledgers: await readLedgers(client),
  };
}

/**
 * Writes a batch in the caller's open READ COMMITTED transaction: rows nobody owns, and the base
 * images of owned ones. Saves no position and checks no fence; the caller does, in the same
 * transaction, and must roll back if this rejects. Applying the same batch again changes nothing.
 * Errors: APPLY_BLOCKED (try again later), SHADOW_UNREACHABLE, ROW_INCOMPLETE, TABLE_UNKNOWN,
 * COLUMN_UNKNOWN, KEY_MISSING, APPLY_FAILED. `used`: the tables whose stages were filled before in
 * this transaction, to which it adds. `parks`: keys that the candidate is at wait, instead of refusing the
 * batch; as they do while any key waits.
 */
export async function applyBatch(
  session: ApplySession,
  batch: ChangeBatch,
  used = new Set<string>(),
  parks = false,
): Promise<ApplyOutcome> {
  const total = { rows: 0, owned: 0, repairs: 0 };
  let parked = 0;
  const touched = new Map<string, ApplyTable>();
  const add = (table: ApplyTable, outcome: StepOutcome): void => {
    total.rows += outcome.rows;
    total.owned += outcome.owned;
    total.repairs += outcome.repairs;
    parked += outcome.parked ?? 0;
    // One of which all waits may be locked, and nothing of it was changed.
    const wrote = outcome.rows + outcome.owned > 0 || (outcome.parked ?? 0) === 0;
    if (wrote) touched.set(table.label, table);
  };
  await findWaiting(session, parks);
  const steps = splitSteps(batch.steps, session.reshaped);
  const groups = groupSteps(session, steps.visible);
  const written = tablesOf(groups);
  const fresh = new Set(groups.filter((group) => seemsFresh(session, group)));
  try {
    const staged = tablesOf(groups.filter((group) => !fresh.has(group)));
    const stages = { known: session.staged, used, made: new Set<string>() };
    await applyKept(session, steps.kept, { used, stages, source: sourceOf(batch) });
    await ensureStages(session.client, [...staged.values()], stages);
    for (const group of groups) {
      switch (group.kind) {
        case 'rows':
          if (fresh.has(group)) {
            if (await copiedFresh(session, group)) {
              total.rows += group.changes.length;
              break;
            }
            await ensureStages(session.client, [group.table], stages);
          }
          if (used.has(group.table.label)) await session.client.query(clearStage(group.table));
          used.add(group.table.label);
          add(
            group.table,
            await applyRows(contextOf(session, batch, group.table), group.table, group.changes),
          );
          break;
        case 'bag': {
          if (used.has(group.table.label)) await session.client.query(clearStage(group.table));
          used.add(group.table.label);
          const passOver = session.captured !== null;
          add(group.table, await applyBag(session, group.table, group.changes, { passOver }));
          break;
        }
        case 'truncates':
          await truncate(session, batch, group.tables, add);
          break;
        default:
          unreachable(group);
      }
    }
    await checkDeferred(session);
    if (session.captured !== null) await touchCaptured(session.client, [...touched.values()]);
  } catch (error) {
    throw applyFailure(error, [...written.keys()].join(', '));
  }
  return parked === 0 ? total : { ...total, parked };
}

/** What waits by now: others may have changed that since. */
async function findWaiting({ client, waiting }: ApplySession, parks: boolean): Promise<void> {
  if (waiting === null) return;
  waiting.tables.clear();
  for (const label of await readWaitingLabels(client)) waiting.tables.add(label);
  waiting.parks = parks || waiting.tables.size > 0;
}

/** Writes what production's image of reshaped tables is kept in, which nobody else does. */
async function applyKept(
  session: ApplySession,
  steps: readonly BatchStep[],
  at: {
    readonly used: Set<string>;
    readonly stages: KnownStages;
    readonly source: string | null;
  },
): Promise<void> {
  const { client, kept, ledgers, catalogue, comparisons } = session;
  for (const step of steps) {
    const table = kept.get(tableName(step.table));
    if (table === undefined) continue;
    if (step.kind === 'truncate') {
      if (ledgers.tables.has(table.label)) {
        await truncateLedgers(client, table, table.schema, ledgers.images);
      }
      await client.query(`DELETE FROM ${table.rows}`);
    } else if (step.kind === 'rows' && step.changes.length > 0) {
      await ensureStages(client, [table], at.stages);
      await client.query(clearStage(table));
      at.used.add(table.label);
      const context = { source: at.source, again: false, waiting: null, visible: session.visible };
      const all = { client, catalogue, comparisons, ledgers, ...context };
      await applyRows(all, table, step.changes);
    }
  }
}

/** The tables, by label, whose rows these groups write. */
function tablesOf(groups: readonly StepGroup[]): Map<string, ApplyTable> {
  const tables = new Map<string, ApplyTable>();
  for (const group of groups) {
    if (group.kind !== 'truncates') tables.set(group.table.label, group.table);
  }
  return tables;
}

/** Whether new rows of a trunk are to go into their table at once. */
function seemsFresh({ fresh, spared }: ApplySession, group: StepGroup): boolean {
  // Where triggers act, they spare what is written as the long way writes it.
  if (group.kind !== 'rows' || spared !== null) return false;
  return areFresh(group.table, group.changes) && fresh.mayCopy(group.table);
}

/** False if they have to go the long way: nothing was written. */
async function copiedFresh(
  { client, fresh, ledgers }: ApplySession,
  { table, changes }: Extract<StepGroup, { kind: 'rows' }>,
): Promise<boolean> {
  // Asked now: what came before in the batch may have parked rows.
  if (ledgers.tables.has(table.label)) return false;
  const copied = await copyFresh(client, table, changes);
  fresh.tried(table, copied);
  return copied;
}

/**
 * In replica mode deferrable constraints are not checked. In fallback mode they are, and here
 * rather than at the commit, where an error would have no table.
 */
export async function checkDeferred(session: ApplySession): Promise<void> {
  if (session.spared !== null) await session.client.query('SET CONSTRAINTS ALL IMMEDIATE');
}

/** What is not known of a reshaped table is told of what is kept of it. */
function contextOf(session: ApplySession, batch: ChangeBatch, { label }: ApplyTable): StepContext {
  const { client, catalogue, comparisons, waiting, visible } = session;
  const ledgers = visible.has(label)
    ? { ...session.ledgers, tables: new Set<string>(), images: new Set<string>() }
    : session.ledgers;
  const source = sourceOf(batch);
  return { client, catalogue, comparisons, ledgers, source, again: false, waiting, visible };
}

function sourceOf({ position: { source } }: ChangeBatch): string | null {
  return source === null ? null : sourceText(source);
}

/** The prepared table that changes of `id` go to. */
export function tableOf(session: ApplySession, id: TableId): ApplyTable {
  const schema = resolveTable(session.catalogue, id);
  const label = tableName(schema.id);
  const known = session.described.get(label);
  if (known !== undefined) return known;
  const journal = session.captured?.get(label) ?? null;
  const { reshaped } = originOf(schema, session.reshaped);
  const ruled = journal === null ? {} : rulesOf(schema, session, session.reshaped);
  const whole = reshaped === null ? schema : withOwnOpen(schema, reshaped);
  const table = describeTable(whole, session.comparisons, journal, ruled);
  session.described.set(label, table);
  return table;
}

/** A table without key; one that has got a key meanwhile is written by whole rows all the same. */
function bagOf(session: ApplySession, id: TableId): ApplyTable {
  const label = tableName(id);
  const name = `bag ${label}`;
  const known = session.described.get(name);
  if (known !== undefined) return known;
  const schema = session.catalogue.get(label);
  if (schema === undefined) {
    throw new UnderstudyError('TABLE_UNKNOWN', 'the shadow has no such table', { table: label });
  }
  const table = describeTable({ ...schema, key: [] }, session.comparisons, null);
  session.described.set(name, table);
  return table;
}

type StepGroup =
  | { readonly kind: 'rows'; readonly table: ApplyTable; readonly changes: readonly NetChange[] }
  | { readonly kind: 'bag'; readonly table: ApplyTable; readonly changes: readonly BagChange[] }
  | { readonly kind: 'truncates'; readonly tables: readonly TableId[] };

/**
 * Puts together what must be written together: the rows of one table between two truncates, which
 * may have come from several partitions and moved between them; and truncates that follow each
 * other, since production's `TRUNCATE a, b` is one event each.
 */
function groupSteps(session: ApplySession, steps: readonly BatchStep[]): readonly StepGroup[] {
  const groups: StepGroup[] = [];
  const stretch = new Map<string, { table: ApplyTable; changes: readonly NetChange[] }>();
  const endStretch = (): void => {
    for (const { table, changes } of stretch.values())
      groups.push({ kind: 'rows', table, changes });
    stretch.clear();
  };
  for (const step of steps) {
    switch (step.kind) {
      case 'rows': {
        if (step.changes.length === 0) break;
        const table = tableOf(session, step.table);
        const changes = inKeyOrder(session, step, table);
        const before = stretch.get(table.label);
        const all = before === undefined ? changes : [...before.changes, ...changes];
        stretch.set(table.label, { table, changes: all });
        break;
      }
      case 'bag':
        // Rows of different tables commute, and of one table there is one such step.
        if (step.changes.length > 0) {
          const table = bagOf(session, step.table);
          groups.push({ kind: 'bag', table, changes: step.changes });
        }
        break;
      case 'truncate': {
        endStretch();
        const last = groups.at(-1);
        if (last?.kind === 'truncates') {
          groups[groups.length - 1] = { ...last, tables: [...last.tables, step.table] };
        } else groups.push({ kind: 'truncates', tables: [step.table] });
        break;
      }
      case 'cascade':
        throw new UnderstudyError('INTERNAL', 'what a foreign key does is in the log', {
          table: tableName(step.table),
        });
      default:
        unreachable(step);
    }
  }
  endStretch();
  return groups;
}

/** A partition may name the key's columns in another order than its root, to which it is written. */
export function inKeyOrder(
  session: ApplySession,
  step: Extract<BatchStep, { kind: 'rows' }>,
  table: ApplyTable,
): readonly NetChange[] {
  const named = session.catalogue.get(tableName(step.table))?.key ?? [];
  const order = table.schema.key.map((column) => named.indexOf(column));
  if (order.every((from, to) => from === to)) return step.changes;
  if (order.includes(-1) || named.length !== order.length) {
    throw new UnderstudyError('KEY_MISSING', 'a partition has another key than its root', {
      table: tableName(step.table),
    });
  }
  const sort = (key: NetChange['key']): NetChange['key'] => order.map((from) => key[from] ?? null);
  return step.changes.map((change) =>
    change.kind === 'delete'
      ? { ...change, key: sort(change.key) }
      : { ...change, key: sort(change.key), from: sort(change.from) },
  );
}

async function truncate(
  session: ApplySession,
  batch: ChangeBatch,
  ids: readonly TableId[],
  add: (table: ApplyTable, outcome: StepOutcome) => void,
): Promise<void> {
  const { client, catalogue, captured } = session;
  const uncaptured: TableId[] = [];
  for (const id of ids) {
    const named = catalogue.get(tableName(id));
    const keyed = named !== undefined && named.key.length > 0;
    const table = keyed ? tableOf(session, id) : null;
    if (named !== undefined && table !== null && session.ledgers.tables.has(table.label)) {
      await truncateLedgers(client, table, named, session.ledgers.images);
    }
    if (named === undefined || table === null || captured?.has(table.label) !== true) {
      uncaptured.push(id);
      continue;
    }
    add(table, await truncateParking(contextOf(session, batch, table), table, named));
  }
  if (uncaptured.length > 0) await truncateTrunk(client, catalogue, uncaptured);
}
