/** The overlay of tables that are changed: its journals, functions and views change with them. */
import type { ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { SchemaChange } from '../../../schema/schema-change.ts';
import type { TableSchema } from '../../../schema/table-schema.ts';
import { unreachable } from '../../../util/assert.ts';
import type { SparedAccount } from '../apply/applier-rights.ts';
import { describeTable, type ApplyTable } from '../apply/apply-table.ts';
import { readCatalogue } from '../catalogue/catalogue.ts';
import { readComparisons } from '../catalogue/key-facts.ts';
import type { CarriedChange } from '../../evolving.ts';
import { relation, viewId } from '../session/names.ts';
import { findAnyBlocked, noteVersions, settleAll } from './blocked-sql.ts';
import { captureTables } from './capture.ts';
import { readGenerated } from './generated.ts';
import { captureFunctions, dropKeyTrigger, keyTrigger, partitionCapture } from './capture-sql.ts';
import { readCaptured, type CapturedTables } from './journal.ts';
import { raiseSequences } from './sequences-above.ts';
import { renameOverlay } from './renamed-overlay.ts';
import { viewSchemaStatements, viewStatements } from './views.ts';
import { dropWaiting, waitingStatements } from './waiting.ts';

/** A rollout's overlay while its tables are changed, in the caller's transaction. */
export class ChangedOverlay {
  readonly #client: ClientBase;
  #captured: CapturedTables;
  readonly #changes: readonly CarriedChange[];

  private constructor(
    client: ClientBase,
    captured: CapturedTables,
    changes: readonly CarriedChange[],
  ) {
    this.#client = client;
    this.#captured = captured;
    this.#changes = changes;
  }

  /** Takes away what would keep the tables from being changed. Null without an overlay. */
  static async open(
    client: ClientBase,
    changes: readonly CarriedChange[],
  ): Promise<ChangedOverlay | null> {
    const captured = await readCaptured(client);
    if (captured === null) return null;
    assertKept(captured, changes);
    const overlay = new ChangedOverlay(client, captured, changes);
    await overlay.#settleBlocked();
    for (const id of overlay.#altered('before')) {
      await client.query(dropKeyTrigger(id));
      for (const view of ['production', 'difference'] as const) {
        await client.query(`DROP VIEW IF EXISTS ${relation(viewId(id, view))}`);
      }
      await dropWaiting(client, id);
    }
    return overlay;
  }

  /** After the tables were changed: all that is beside them is as on a fresh clone of them. */
  async close(spared: SparedAccount): Promise<void> {
    const renames = this.#changes.map(({ change }) => change);
    await renameOverlay(this.#client, renames, this.#captured);
    this.#captured = (await readCaptured(this.#client)) ?? this.#captured;
    for (const { change, beside } of this.#changes) {
      const journal = this.#captured.get(tableName(change.table));
      if (journal === undefined) continue;
      for (const statement of beside(relation(journal))) await this.#client.query(statement);
    }
    await this.#captureNew(spared);
    const catalogue = await readCatalogue(this.#client);
    const comparisons = await readComparisons(this.#client);
    const generated = await readGenerated(this.#client);
    for (const id of this.#altered('now')) {
      const label = tableName(id);
      const [schema, journal] = [catalogue.get(label), this.#captured.get(label)];
      if (schema === undefined || journal === undefined) continue;
      const table: ApplyTable = describeTable(schema, comparisons, journal);
      const partitions = partitionsOf(catalogue.values(), label);
      const statements = [
        ...captureFunctions(table, partitions),
        keyTrigger(table, spared),
        ...viewSchemaStatements(id.schema),
        ...waitingStatements(table, generated.get(label) ?? []),
        ...viewStatements(table),
        // Rows that were written anew have other versions.
        noteVersions(table),
      ];
      await this.#client.query(statements.join(';\n'));
    }
    for (const { change } of this.#changes) {
      const root = catalogue.get(tableName(change.table))?.partitionOf;
      const label = root === undefined ? '' : tableName(root);
      const [schema, journal] = [catalogue.get(label), this.#captured.get(label)];
      if (change.kind !== 'renameTable' || schema === undefined || journal === undefined) continue;
      const table = describeTable(schema, comparisons, journal);
      const partitions = partitionsOf(catalogue.values(), label);
      await this.#client.query(captureFunctions(table, partitions).join(';\n'));
    }
    await raiseSequences(this.#client);
  }

  /** Of rows that are kept out, which ones are the candidate's by now: after the change, nothing tells. */
  async #settleBlocked(): Promise<void> {
    const blocked: ApplyTable[] = [];
    for (const id of this.#altered('before')) {
      const journal = this.#captured.get(tableName(id));
      if (journal === undefined) continue;
      const any = await this.#client.query(findAnyBlocked(relation(journal)));
      if (any.rows.length === 0) continue;
      const schema = (await readCatalogue(this.#client)).get(tableName(id));
      if (schema === undefined) continue;
      blocked.push(describeTable(schema, await readComparisons(this.#client), journal));
    }
    for (const table of blocked) {
      await this.#client.query(`LOCK TABLE ${table.relation} IN ACCESS EXCLUSIVE MODE`);
      await this.#client.query(settleAll(table));
    }
  }

  /** New tables get an overlay of their own; a partition shares its root's. */
  async #captureNew(spared: SparedAccount): Promise<void> {
    const fresh = this.#changes.flatMap(({ change }) =>
      change.kind === 'newTable' ? [tableName(change.table)] : [],
    );
    if (fresh.length === 0) return;
    await captureTables(this.#client, spared, (table) => fresh.includes(tableName(table)));
    const catalogue = await readCatalogue(this.#client);
    const comparisons = await readComparisons(this.#client);
    for (const label of fresh) {
      const partition = catalogue.get(label);
      if (partition?.partitionOf === undefined) continue;
      const root = tableName(partition.partitionOf);
      const [schema, journal] = [catalogue.get(root), this.#captured.get(root)];
      if (schema === undefined || journal === undefined) continue;
      const table = describeTable(schema, comparisons, journal);
      await this.#client.query(partitionCapture(table, partition, spared).join(';\n'));
    }
  }

  /** Captured tables whose columns or names are changed, by the names they have. */
  #altered(when: 'before' | 'now'): readonly TableId[] {
    const altered = this.#changes
      .map(({ change }) => change)
      .filter(altersColumns)
      .map((change) =>
        change.kind === 'renameTable' && when === 'before' ? change.from : change.table,
      )
      .filter((id) => this.#captured.has(tableName(id)));
    return [...new Map(altered.map((id) => [tableName(id), id])).values()];
  }
}

/** What the candidate wrote is kept by the key that rows had, and of tables that are there. */
function assertKept(captured: CapturedTables, changes: readonly CarriedChange[]): void {
  for (const { change } of changes) {
    const table = tableName(change.table);
    if ((change.kind !== 'key' && change.kind !== 'droppedTable') || !captured.has(table)) continue;
    throw new UnderstudyError(
      'SCHEMA_FAILED',
      `cannot change table ${table} as production did: the rollout has what was written into it`,
      { table, detail: 'delete the rollout, accept the change for the trunk, and create it anew' },
    );
  }
}

/** Of a table, by `tableName()`. */
export function partitionsOf(tables: Iterable<TableSchema>, root: string): readonly TableSchema[] {
  return [...tables].filter(
    ({ partitionOf }) => partitionOf !== undefined && tableName(partitionOf) === root,
  );
}

function altersColumns(change: SchemaChange): boolean {
  switch (change.kind) {
    case 'add':
    case 'drop':
    case 'rename':
    case 'widen':
    case 'retype':
    case 'key':
    case 'renameTable':
      return true;
    case 'enumValue':
    case 'newTable':
    case 'droppedTable':
      return false;
    default:
      return unreachable(change);
  }
}
