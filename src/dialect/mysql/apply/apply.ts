/**
 * Applying batches. The session of the applier checks no foreign keys, so that changes may be
 * written in any order and nothing cascades: what cascaded in production is in the log by itself, or is
 * a step of its own (cascades.ts). There are no triggers on a trunk (see the plan from production), so none act on its rows.
 */
import { sourceText } from '../../../change/stored-source.ts';
import { tableName, type TableId } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type {
  BagChange,
  BatchStep,
  ChangeBatch,
  NetChange,
  ParentChange,
} from '../../../order/change-batch.ts';
import { OVERLAY_WINS } from '../../../overlay/policy.ts';
import { unreachable } from '../../../util/assert.ts';
import type { ApplyOutcome } from '../../dialect.ts';
import type { DatabaseTables } from '../catalogue/catalogue.ts';
import type { Client } from '../session/client.ts';
import { readFlavour, type Flavour } from '../session/flavour.ts';
import { quote } from '../session/names.ts';
import { readEdges, type Edge } from '../overlay/edges.ts';
import { describeCaptured, readCapturedNames } from '../overlay/journal.ts';
import { readDefaults, readKept, type KeptTables } from '../overlay/reshapes.ts';
import type { PairsOn } from '../../../overlay/pairing.ts';
import type { CandidateRules } from '../../overlay.ts';
import { originOf, rulesOf, splitSteps, type TableRules } from '../../sql/reshaped.ts';
import { applyBag } from './apply-bag.ts';
import {
  applyCaptured,
  truncateCaptured,
  type CapturedOutcome,
  type StepOf,
} from './apply-captured.ts';
import { overlaid, type OverlaidTable } from './overlaid-table.ts';
import { applyFailure, tableFailure } from './apply-error.ts';
import { applyRows } from './apply-rows.ts';
import { carryOut } from './cascades.ts';
import { carryOutCaptured } from './captured-cascades.ts';
import { createReach, createStage, describeTable, type ApplyTable } from './apply-table.ts';
import { readParkedTables, releaseParked } from './parked.ts';
import { LOCK_WAIT_S, Patience } from './patience.ts';

/** Once for each connection that applies. */
export async function prepareActs(client: Client, { engine }: Flavour): Promise<void> {
  // A batch that is cut off by a limit meant for others would be cut off by it each time.
  const unlimited = engine === 'mariadb' ? 'max_statement_time' : 'max_execution_time';
  await client.run(
    `SET SESSION foreign_key_checks = 0, unique_checks = 1,
      innodb_lock_wait_timeout = ${String(LOCK_WAIT_S)}, ${unlimited} = 0`,
  );
}

/** What a connection knows of the tables it applies to. */
export interface ApplySession extends KeptTables {
  readonly client: Client;
  readonly database: string;
  readonly tables: DatabaseTables;
  /** The longest statement the server takes. */
  readonly packetBytes: number;
  readonly described: Map<string, ApplyTable>;
  /** Temporary tables that the connection has. */
  readonly stages: Set<string>;
  /** Tables, by `tableName()`, that a candidate writes to as well. */
  readonly captured: ReadonlyMap<string, OverlaidTable>;
  /** The foreign keys of all tables, if any is captured. */
  readonly edges: readonly Edge[];
  readonly engine: Flavour['engine'];
  /** Tables (by `tableName()`) that may have parked keys; only ever too many. */
  readonly parked: Set<string>;
  readonly pairsOn: PairsOn | null;
}

/** `rules`: what is not said is that no table is isolated, and that the candidate wins. Errors: CONFIG_INVALID. */
export async function openApplySession(
  client: Client,
  database: string,
  tables: DatabaseTables,
  rules: CandidateRules = {},
): Promise<ApplySession> {
  const { bytes } = await client.row<{ bytes: string }>('SELECT @@max_allowed_packet AS bytes');
  const kept = await readKept(client, database, tables);
  const { isolates = () => false, policies = () => OVERLAY_WINS } = rules;
  const { reshaped } = kept;
  const { engine } = await readFlavour(client);
  const ruled = { isolates, policies, reshaped, engine };
  const overlay = await readOverlaid(client, database, tables, ruled);
  if (engine === 'mariadb') {
    // What production took was checked there, as its sessions chose to; the candidate's schema is another.
    const checked = overlay.captured.size > 0 ? '1' : '0';
    await client.run(`SET SESSION check_constraint_checks = ${checked}`);
  }
  return {
    ...{ client, database, tables, packetBytes: Number(bytes) },
    ...{ described: new Map(), stages: new Set() },
    ...{ ...overlay, engine, ...kept },
    parked: await readParkedTables(client, database),
    pairsOn: rules.pairsOn ?? null,
  };
}

const NONE: ReadonlyMap<string, string> = new Map();

async function readOverlaid(
  client: Client,
  database: string,
  tables: DatabaseTables,
  { engine, ...rules }: TableRules & Pick<KeptTables, 'reshaped'> & Pick<Flavour, 'engine'>,
): Promise<Pick<ApplySession, 'captured' | 'edges'>> {
  const names = await readCapturedNames(client, database);
  if (names.size === 0) return { captured: new Map(), edges: [] };
  const all = [...tables.catalogue.values()].map(({ id }) =>
    describeCaptured(tables, database, id),
  );
  const edges = await readEdges(client, database, all);
  const captured = new Map<string, OverlaidTable>();
  for (const table of all.filter(({ schema }) => names.has(schema.id.name))) {
    const { reshaped } = originOf(table.schema, rules.reshaped);
    const defaults =
      reshaped === null ? NONE : await readDefaults(client, database, table, reshaped);
    const ruled = { ...rulesOf(table.schema, rules, rules.reshaped), defaults };
    captured.set(table.label, overlaid(table, edges, { ...ruled, patience: new Patience(engine) }));
  }
  return { captured, edges };
}

/**
 * Writes a batch in the caller's open READ COMMITTED transaction. Saves no position and checks no
 * fence; the caller does, in the same transaction, and must roll back if this rejects. Applying
 * the same batch again changes nothing. Errors: APPLY_BLOCKED (try again later),
 * SHADOW_UNREACHABLE, ROW_INCOMPLETE, TABLE_UNKNOWN, COLUMN_UNKNOWN, KEY_MISSING, APPLY_FAILED.
 */
export async function applyBatch(session: ApplySession, batch: ChangeBatch): Promise<ApplyOutcome> {
  let [rows, owned, parked, uncarried] = [0, 0, 0, 0];
  const add = (outcome: CapturedOutcome): void => {
    rows += outcome.rows;
    owned += outcome.owned;
    parked += outcome.parked ?? 0;
  };
  const at = batch.position.source;
  const source = at === null ? null : sourceText(at);
  const steps = splitSteps(batch.steps, session.reshaped);
  for (const step of steps.kept) await applyKept(session, step);
  for (const group of groupSteps(session, steps.visible)) {
    switch (group.kind) {
      case 'rows':
        await ensureStage(session, group.table);
        add(await writeRows(session, group.table, { changes: group.changes, source }));
        await release(session, group.table, group.changes);
        break;
      case 'bag':
        await ensureStage(session, group.table);
        rows += await applyBag(session.client, group.table, group.changes, session.packetBytes);
        break;
      case 'truncate':
        add(await truncate(session, group.table, source));
        break;
      case 'cascade':
        uncarried += await carry(session, group, source);
        break;
      default:
        unreachable(group);
    }
  }
  return {
    ...{ rows, owned, repairs: 0 },
    ...(parked > 0 && { parked }),
    ...(uncarried > 0 && { uncarried }),
  };
}

/**
 * Writes what production's image of a reshaped table is kept in, which nobody else does. What foreign keys do
 * there unseen is not carried out: such a table is not compared (shadow/base-reader.ts).
 */
async function applyKept(session: ApplySession, step: BatchStep): Promise<void> {
  const label = tableName(step.table);
  const kept = session.kept.get(label);
  const schema = session.reshaped.get(label)?.schema;
  if (kept === undefined || schema === undefined) return;
  if (step.kind === 'rows') {
    await ensureStage(session, kept);
    await applyRows(session.client, kept, step.changes, session.packetBytes);
    await release(session, { schema, label }, step.changes);
  } else if (step.kind === 'truncate') {
    await release(session, { schema, label }, null);
    await session.client.run(`DELETE FROM ${kept.relation}`);
  }
}

async function writeRows(
  { client, captured, packetBytes }: ApplySession,
  table: ApplyTable,
  of: StepOf,
): Promise<CapturedOutcome> {
  const own = captured.get(table.label);
  if (own !== undefined) return applyCaptured(client, own, of, packetBytes);
  return { rows: await applyRows(client, table, of.changes, packetBytes), owned: 0 };
}

function carry(
  session: ApplySession,
  { table, changes }: { readonly table: ApplyTable; readonly changes: readonly ParentChange[] },
  source: string | null,
): Promise<number> {
  const { client, captured, edges, engine } = session;
  const own = captured.get(table.label);
  if (own === undefined) return carryOut(client, table, changes);
  const ensure = async (one: ApplyTable): Promise<void> => {
    await ensureStage(session, one);
    await ensureTemporary(session, one, one.reach[0], createReach(one, 0));
    await ensureTemporary(session, one, one.reach[1], createReach(one, 1));
  };
  return carryOutCaptured({ client, engine, edges, captured, source, ensure }, own, changes);
}

type StepGroup =
  | { readonly kind: 'rows'; readonly table: ApplyTable; readonly changes: readonly NetChange[] }
  | { readonly kind: 'bag'; readonly table: ApplyTable; readonly changes: readonly BagChange[] }
  | { readonly kind: 'truncate'; readonly table: TableId }
  | {
      readonly kind: 'cascade';
      readonly table: ApplyTable;
      readonly changes: readonly ParentChange[];
    };

/**
 * Puts together what must be written together: the rows of one table between two truncates, which
 * may have come in several steps.
 */
function groupSteps(session: ApplySession, steps: readonly BatchStep[]): readonly StepGroup[] {
  const groups: StepGroup[] = [];
  let stretch = new Map<string, Gathered>();
  const gather = (id: TableId): Gathered => {
    const table = tableOf(session, id);
    const gathered = stretch.get(table.label) ?? { table, net: [], bag: [] };
    stretch.set(table.label, gathered);
    return gathered;
  };
  const endStretch = (): void => {
    for (const { table, net, bag } of stretch.values()) {
      if (net.length > 0) groups.push({ kind: 'rows', table, changes: net });
      if (bag.length > 0) groups.push({ kind: 'bag', table, changes: bag });
    }
    stretch = new Map();
  };
  for (const step of steps) {
    switch (step.kind) {
      case 'rows': {
        if (step.changes.length === 0) break;
        const { table, net } = gather(step.table);
        if (table.key.length === 0) {
          const what = 'rows of this table cannot be told apart';
          throw new UnderstudyError('KEY_MISSING', what, { table: table.label });
        }
        net.push(...step.changes);
        break;
      }
      case 'bag':
        gather(step.table).bag.push(...step.changes);
        break;
      case 'truncate':
        endStretch();
        groups.push({ kind: 'truncate', table: step.table });
        break;
      case 'cascade':
        endStretch();
        groups.push({ ...step, table: tableOf(session, step.table) });
        break;
      default:
        unreachable(step);
    }
  }
  endStretch();
  return groups;
}

/** Of one table. It has changes of one kind, unless it got or lost its key in between. */
interface Gathered {
  readonly table: ApplyTable;
  readonly net: NetChange[];
  readonly bag: BagChange[];
}

/** The prepared table that changes of `id` go to. */
function tableOf(session: ApplySession, id: TableId): ApplyTable {
  const label = tableName(id);
  const known = session.described.get(label);
  if (known !== undefined) return known;
  const table = describeTable(session.tables, session.database, id);
  session.described.set(label, table);
  return table;
}

export function ensureStage(session: ApplySession, table: ApplyTable): Promise<void> {
  return ensureTemporary(session, table, table.stage, createStage(table));
}

/** A temporary table is not part of a transaction: it stays when that is rolled back. */
async function ensureTemporary(
  { client, stages }: ApplySession,
  { label }: ApplyTable,
  name: string,
  statement: string,
): Promise<void> {
  if (stages.has(name)) return;
  try {
    await client.run(statement);
  } catch (error) {
    throw tableFailure(error, label);
  }
  stages.add(name);
}

/** Null: all keys of the table. */
async function release(
  { client, database, parked }: ApplySession,
  table: Pick<ApplyTable, 'schema' | 'label'>,
  changes: readonly NetChange[] | null,
): Promise<void> {
  if (!parked.has(table.label)) return;
  await releaseParked(client, table, { database, changes });
}

/** By DELETE: a TRUNCATE would commit what was written before it. */
async function truncate(
  session: ApplySession,
  id: TableId,
  source: string | null,
): Promise<CapturedOutcome> {
  const label = tableName(id);
  const schema = session.tables.catalogue.get(label);
  if (schema === undefined) {
    throw new UnderstudyError('TABLE_UNKNOWN', 'the shadow has no such table', { table: label });
  }
  await release(session, { schema, label }, null);
  const captured = session.captured.get(label);
  if (captured !== undefined) {
    await ensureStage(session, captured);
    return truncateCaptured(session.client, captured, source);
  }
  try {
    const { rows } = await session.client.run(`DELETE FROM ${quote(session.database, id.name)}`);
    return { rows, owned: 0 };
  } catch (error) {
    throw applyFailure(error, label);
  }
}
