/**
 * Tables that production dropped while they are followed, such as it made again, and such as have columns
 * that it replaced by others of their names.
 *
 * Invariant: before a position passes what tells of it, it stands in the shadow that such a table is kept,
 * or that its records wait. So no record of what was made again is written among the rows of before,
 * whoever follows by then, unless a person accepted that.
 */
import {
  parsePartitionKey,
  partitionKey,
  type LogOffset,
  type OffsetMap,
} from '../change/position.ts';
import type { SchemaChangeRecord } from '../change/table-change.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import { schemaTargetOf, type NotedTable } from '../dialect/evolving.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import { changesBetween, type SchemaChange } from '../schema/schema-change.ts';
import type { SchemaCatalogue, TableSchema } from '../schema/table-schema.ts';
import { replacedColumns } from '../schema/replaced-columns.ts';
import { wasDropped } from '../schema/told-changes.ts';
import { policyOf, refused } from './change-policy.ts';
import { openEnds, persistently, type Ends } from './schema-ends.ts';
import { readSchemaHistory } from './schema-history.ts';
import type { ColumnsReplaced, TableDropped } from './schema-watch.ts';
import type { Stage } from './stage.ts';

export interface DroppedParts {
  readonly carry: (
    changes: readonly SchemaChange[],
    ends: Ends,
    error: UnderstudyError,
  ) => Promise<void>;
  /** Whether production has it under another name, and a person must decide. */
  readonly isRenamed: (label: string) => boolean;
  /** From now on all records of the table are set aside, for this reason. False if none may be. */
  readonly wait: (table: string, why: string) => boolean;
}

export class DroppedTables {
  readonly #stage: Stage;
  readonly #parts: DroppedParts;
  /** Tables whose records wait, whatever they are. */
  readonly #waiting = new Set<string>();
  /** Tables that are known to have been dropped. */
  readonly #dropped = new Set<string>();
  /** Tables that were dropped here too: how far the log may have rows of them. */
  readonly #gone = new Map<string, OffsetMap>();

  /** Of these, names that other tables have by now. */
  readonly #again = new Set<string>();

  /** Tables that are kept: how far the log may have rows of before they were dropped. */
  readonly #rest = new Map<string, OffsetMap>();

  /** Statements that were looked into, by table and place. */
  readonly #told = new Set<string>();
  /** `table column`, of columns that were made here. */
  readonly #added = new Set<string>();

  constructor(stage: Stage, parts: DroppedParts) {
    this.#stage = stage;
    this.#parts = parts;
  }

  isGone(table: string, at?: LogOffset): boolean {
    const ends = this.#gone.get(table);
    return at === undefined ? ends !== undefined : isBefore(at, ends);
  }

  /** Whether a record here that tells no place is of before its table was given up. */
  isOld(table: string, at: LogOffset): boolean {
    return this.isGone(table, at) && !this.#again.has(table);
  }

  /** Whether a record here is none of a table that was made again. */
  isOfBefore(table: string, at: LogOffset): boolean {
    return !this.#dropped.has(table) || isBefore(at, this.#rest.get(table));
  }

  waits(table: string): boolean {
    return this.#waiting.has(table);
  }

  knows(table: string): boolean {
    return this.#dropped.has(table);
  }

  /**
   * What was noted before; and what production has no more, since nothing else tells of that on some
   * engines. SCHEMA_CHANGED where such a table is to stop who follows.
   */
  async begin(): Promise<void> {
    const noted = await this.readNoted();
    const { context, database } = this.#stage;
    if (database.marker.kind !== 'trunk' || context.config.production === undefined) return;
    const seen = await this.#lookAtProduction();
    if (seen === null) return;
    for (const { table, state } of noted) {
      if (state === 'kept' && seen.tables.has(tableName(table))) await this.#madeAgain(table);
    }
    await this.#lookForDropped(seen);
  }

  async readNoted(): Promise<readonly NotedTable[]> {
    const noted = (await schemaTargetOf(this.#stage.database)?.noted()) ?? [];
    for (const { table, state } of noted) {
      if (state !== 'mixed') this.#dropped.add(tableName(table));
      if (state !== 'kept') this.#wait(table, WAITS_FOR[state]);
    }
    return noted;
  }

  /** A person has decided: what comes of the table is written. */
  async accept(label: string, { target }: Ends): Promise<void> {
    const noted = (await target.noted()).find(({ table }) => tableName(table) === label);
    if (noted !== undefined) await target.note(this.#stage.holder.fence, noted.table, null);
  }

  /** True: what is not carried out is known from now on. */
  async mend(error: TableDropped, ends: Ends): Promise<boolean> {
    const { table: label = '' } = error.context;
    const { context, database } = this.#stage;
    const table = (await database.catalogue()).get(label)?.id;
    if (table === undefined || !context.includes(table)) {
      this.#dropped.add(label);
      return true;
    }
    const change: SchemaChange = { kind: 'droppedTable', table };
    if (policyOf(change, context.config) === 'fail') throw refused(error, change, null);
    const offsets = await this.#logEnds();
    const theirs = await persistently(this.#stage, () => ends.production.catalogue());
    // Rows of both are in the log, and a person must say when those of before are done.
    if (theirs.has(label) || error.isMadeAgain) {
      if (!(await this.#madeAgain(table))) throw refused(error, change, null);
    } else if (this.#dropped.has(label)) {
      // The ends came first: what production has not by now, they have of before only.
      this.#rest.set(label, offsets);
    } else await this.ended(table, error, ends);
    this.#dropped.add(label);
    return true;
  }

  /** Production has it no more among the tables that are followed. SCHEMA_CHANGED where that is to stop. */
  async ended(table: TableId, error: UnderstudyError, ends: Ends): Promise<void> {
    const change: SchemaChange = { kind: 'droppedTable', table };
    const policy = policyOf(change, this.#stage.context.config);
    if (policy === 'fail') throw refused(error, change, null);
    if (policy === 'apply') await this.#parts.carry([change], ends, error);
    else await this.#keep(table);
    this.#dropped.add(tableName(table));
  }

  /** Production has another table of this name: from now on its records wait. SCHEMA_CHANGED if none may. */
  async isAnother(table: TableId): Promise<void> {
    if (this.#waiting.has(tableName(table))) return;
    if (await this.#madeAgain(table)) return;
    throw new UnderstudyError('SCHEMA_CHANGED', WAITS_FOR.waits, { table: tableName(table) });
  }

  /**
   * A statement is told that may have replaced columns by others of their names. Rows of both are in the log,
   * and the shadow's hold what was in those of before: the table waits then. True once that is known.
   */
  async mendReplaced(error: ColumnsReplaced): Promise<boolean> {
    const { table: label = '' } = error.context;
    const table = (await this.#stage.database.catalogue()).get(label);
    const history = await readSchemaHistory(this.#stage);
    const until = history.filter(({ at }) => at.offset <= error.at.offset);
    const columns = table === undefined ? [] : replacedColumns(table, until);
    const isSeen = columns.some((name) => !this.#added.has(`${label} ${name}`));
    if (table !== undefined && isSeen) {
      await this.replaced(table.id, columns, error.context);
    }
    this.#told.add(placeOf(label, error.at));
    if (table !== undefined) this.#passHarmless(table, history);
    return true;
  }

  /** Production replaced columns by others: the table waits. SCHEMA_CHANGED where it is to stop who follows. */
  async replaced(
    table: TableId,
    columns: readonly string[],
    where: Partial<LogOffset> = {},
  ): Promise<void> {
    const { context, database } = this.#stage;
    const label = tableName(table);
    if (this.#waiting.has(label)) return;
    const { drop, rename } = context.config.evolution;
    const detail = `in production: ${WAITS_FOR.mixed}: ${columns.join(', ')}`;
    const failed = new UnderstudyError('SCHEMA_CHANGED', 'production replaced columns', {
      ...{
        ...where,
        table: label,
        detail,
        ...(columns[0] !== undefined && { column: columns[0] }),
      },
    });
    if (drop === 'fail' || rename === 'fail') throw failed;
    await this.#note(table, 'mixed');
    context.logger.error('production replaced columns by others, and the table waits', {
      ...{ database: database.name, table: label, columns: columns.join(', ') },
    });
    if (!this.#wait(table, WAITS_FOR.mixed)) throw failed;
  }

  /** So that not each statement of a long history is looked into by itself. */
  #passHarmless(table: TableSchema, history: readonly SchemaChangeRecord[]): void {
    const label = tableName(table.id);
    history.forEach(({ at, tables }, i) => {
      if (!tables.some((told) => tableName(told.table) === label)) return;
      const replaced = replacedColumns(table, history.slice(0, i + 1));
      if (replaced.length === 0) this.#told.add(placeOf(label, at));
    });
  }

  knowsStatement(table: string, at: LogOffset): boolean {
    return this.#told.has(placeOf(table, at)) || this.#waiting.has(table);
  }

  /** A column was made here as production added it: the statement is told yet, or was. */
  carriedAdd(table: string, column: string): void {
    this.#added.add(`${table} ${column}`);
  }

  /** A record is of a table that was dropped: true once it is known how far such records may be. */
  async isOfGone(error: UnderstudyError, ends: Ends): Promise<boolean> {
    const { table: label = '' } = error.context;
    if (error.code !== 'TABLE_UNKNOWN') return false;
    const isFormer = (await ends.target.formerTables()).has(label);
    if (!isFormer && !ends.source.isTold) return false;
    if (!isFormer && !wasDropped(await readSchemaHistory(this.#stage), label)) return false;
    const offsets = await this.#logEnds();
    // Only what is of before is unknown then.
    const isAgain = (await this.#stage.database.catalogue()).has(label);
    // After the ends: what production has not by now, they have of before only.
    if (!isAgain && (await ends.production.catalogue()).has(label)) return false;
    if (isAgain && this.#gone.has(label)) return false;
    if (isAgain) this.#again.add(label);
    this.#gone.set(label, offsets);
    return true;
  }

  async #logEnds(): Promise<OffsetMap> {
    await using source = await this.#stage.context.openSource();
    return await source.ends();
  }

  async #lookForDropped({ ends, tables }: Seen): Promise<void> {
    const { context, database } = this.#stage;
    const { position } = await database.progress();
    const topics = new Set([...position.offsets.keys()].map((key) => parsePartitionKey(key).topic));
    const ours = await database.catalogue();
    const changes = changesBetween(ours, tables, ends.source.appends);
    // One of the same columns is new: it may be that table under another name.
    const isUnsure = changes.some((change) => change.kind === 'newTable' && !change.certain);
    let history: readonly SchemaChangeRecord[] | null = null;
    for (const change of changes) {
      const { table } = change;
      const label = tableName(table);
      if (change.kind !== 'droppedTable' || !context.includes(table)) continue;
      if (ours.get(label)?.partitionOf !== undefined || this.#waiting.has(label)) continue;
      if (this.#parts.isRenamed(label)) continue;
      // A table that no record ever was of is not production's.
      if (!topics.has(`${context.config.source.topicPrefix}.${label}`)) continue;
      // Some catalogues show what the account may see; where the connector tells, its word counts.
      if (ends.source.isTold) {
        history ??= await readSchemaHistory(this.#stage);
        if (!wasDropped(history, label)) continue;
      }
      const what = 'production dropped a table';
      const error = new UnderstudyError('SCHEMA_CHANGED', what, { table: label });
      if (isUnsure && policyOf(change, context.config) === 'apply') await this.#keep(table);
      else await this.ended(table, error, ends);
      this.#dropped.add(label);
    }
  }

  /** Null where it cannot be looked at now: what it has is not needed before a record says so. */
  async #lookAtProduction(): Promise<Seen | null> {
    const { context } = this.#stage;
    try {
      const ends = await openEnds(this.#stage);
      if (ends === null) return null;
      const theirs = await ends.production.catalogue();
      const followed = [...theirs].filter(([, { id }]) => context.includes(id));
      return { ends, tables: new Map(followed) };
    } catch (error) {
      if (!isUnderstudyError(error)) throw error;
      context.logger.warn('cannot look for tables that production dropped', { error });
      return null;
    }
  }

  async #keep(table: TableId): Promise<void> {
    const { context, database } = this.#stage;
    await this.#note(table, 'kept');
    context.logger.warn('production has a table no more, and it is kept: see `schema accept`', {
      ...{ database: database.name, table: tableName(table) },
    });
  }

  /** False where no record may be set aside. */
  async #madeAgain(table: TableId): Promise<boolean> {
    const { context, database } = this.#stage;
    await this.#note(table, 'waits');
    context.logger.error('production has another table of this name now, and the table waits', {
      ...{ database: database.name, table: tableName(table) },
    });
    return this.#wait(table, WAITS_FOR.waits);
  }

  #wait(table: TableId, why: string): boolean {
    const label = tableName(table);
    this.#waiting.add(label);
    return this.#parts.wait(label, why);
  }

  async #note(table: TableId, state: NotedTable['state']): Promise<void> {
    const { database, holder } = this.#stage;
    await persistently(this.#stage, async () =>
      schemaTargetOf(database)?.note(holder.fence, table, state),
    );
  }
}

/** Why a table waits. */
export const WAITS_FOR = {
  waits: 'table dropped or renamed, and made again',
  mixed: 'columns replaced by others of their names, to be repaired once that is accepted',
} as const;

function isBefore({ topic, partition, offset }: LogOffset, ends: OffsetMap | undefined): boolean {
  return offset < (ends?.get(partitionKey(topic, partition)) ?? 0n);
}

function placeOf(table: string, { topic, partition, offset }: LogOffset): string {
  return `${table} ${partitionKey(topic, partition)}/${String(offset)}`;
}

interface Seen {
  readonly ends: Ends;
  /** Those that are followed. */
  readonly tables: SchemaCatalogue;
}
