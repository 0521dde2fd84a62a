/**
 * Follows production's schema. Who follows stops for a record that the shadow cannot take as its
 * tables are; production's catalogue then tells what was changed, the configuration says what is to
 * become of such a change, and following begins again at that record.
 */
import type { ExplainRefusal } from '../apply/batch-writer.ts';
import type { DeadCause } from '../change/dead-cause.ts';
import { partitionKey, type OffsetMap } from '../change/position.ts';
import { tableName } from '../change/table-id.ts';
import { schemaTargetOf, type CarriedChange } from '../dialect/evolving.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import {
  changesBetween,
  describeChange,
  withKeyChange,
  type SchemaChange,
} from '../schema/schema-change.ts';
import { becameOf, clarified } from '../schema/told-changes.ts';
import { unreachable } from '../util/assert.ts';
import { sleep } from '../util/wait.ts';
import { DroppedTables } from './dropped-tables.ts';
import { heldFor } from './held-tables.ts';
import { RenamedTables } from './renamed-tables.ts';
import { ReplacedColumns } from './replaced-columns.ts';
import { openEnds, persistently, type Ends } from './schema-ends.ts';
import { LOOK_FOR_TOLD_MS, readSchemaHistory, TOLD_WITHIN_MS } from './schema-history.ts';
import {
  ColumnsReplaced,
  KeyDiffers,
  TableDropped,
  TableRenamedTold,
  type SchemaWatch,
} from './schema-watch.ts';
import {
  inTurn,
  isRefusal,
  isUnclear,
  leadsTo,
  policyOf,
  refused,
  TROUBLES,
} from './change-policy.ts';
import type { Stage } from './stage.ts';

/** How old the knowledge of production's tables may be that explains a refusal. */
const LOOK_AGAIN_MS = 10_000;

/** Runs `follow`, and again after each change of the schema that it stopped for. */
export async function followEvolving<T>(stage: Stage, follow: () => Promise<T>): Promise<T> {
  const evolution = new Evolution(stage);
  stage.watchSchema(evolution);
  await evolution.begin();
  const ended = new AbortController();
  const watching = evolution.watch(ended.signal);
  try {
    for (;;) {
      try {
        return await follow();
      } catch (error) {
        if (!isUnderstudyError(error, ...TROUBLES) || !(await evolution.mend(error))) throw error;
        await stage.stopFollowing();
      }
    }
  } finally {
    ended.abort();
    await watching;
  }
}

/**
 * Carries out all that production changed of one table, whatever the configuration says of it, as
 * far as it is certain what it was. Returns the changes in a few words each, and the name that it has
 * then. Errors: SCHEMA_CHANGED
 * for one that cannot be carried out, UNSUPPORTED where none is, those of SchemaSource and
 * SchemaTarget. Nobody must follow meanwhile.
 */
export function acceptChanges(
  stage: Stage,
  table: string,
): Promise<{ readonly changes: readonly string[]; readonly table: string }> {
  return new Evolution(stage).accept(table);
}

class Evolution implements SchemaWatch {
  readonly #stage: Stage;
  /** When production was last asked about refusals, by table. */
  readonly #looked = new Map<string, number>();
  /** Troubles for which following began again, since the shadow's tables were not what it knew. */
  readonly #begunAgain = new Set<string>();

  /** Tables that wait, by the name in their events, with the reason. */
  readonly #held = new Map<string, DeadCause>();
  /** `table column`: production has it, though records lack it. */
  readonly #unsent = new Set<string>();
  /** Tables with message keys of other columns than production's own key. */
  readonly #keyed = new Set<string>();
  readonly #droppedTables: DroppedTables;
  readonly #renamedTables: RenamedTables;
  readonly #replacedColumns: ReplacedColumns;
  /** What is to stop who follows, and was seen beside the records. */
  #seen: { readonly error: unknown } | null = null;
  /** Tables that are not here yet, by the ones that their records wait with. */
  readonly #under = new Map<string, string>();
  /** `table column`, of columns that production has no more: how far the log may have them. */
  readonly #former = new Map<string, OffsetMap>();

  constructor(stage: Stage) {
    this.#stage = stage;
    this.#droppedTables = new DroppedTables(stage, {
      carry: (changes, ends, error) => this.#carry(changes, ends, error),
      wait: (table, why) => this.#wait(table, why),
      isRenamed: (label) => [...this.#under.values()].includes(label),
    });
    this.#renamedTables = new RenamedTables(stage, {
      carry: (changes, ends, error) => this.#carry(changes, ends, error),
      hold: (error, change) => this.#hold(error, change),
      dropped: (table, error, ends) => this.#droppedTables.ended(table, error, ends),
      wait: (table) => this.#droppedTables.isAnother(table),
      waits: (label) => this.#droppedTables.waits(label),
      isKept: (label) => this.#droppedTables.knows(label),
    });
    this.#replacedColumns = new ReplacedColumns(stage, {
      mixed: (table, columns) => this.#droppedTables.replaced(table, columns),
    });
  }

  /** Looks beside the records, until `signal`, for what no record tells. Never rejects. */
  async watch(signal: AbortSignal): Promise<void> {
    if (!this.#watches) return;
    const { holder } = this.#stage;
    await this.#replacedColumns
      .watch(AbortSignal.any([signal, holder.lost]), (error) => {
        this.#seen = { error };
      })
      .catch(() => undefined);
  }

  /** Must be done before anything is followed. Errors: SCHEMA_CHANGED, those of carrying. */
  async begin(): Promise<void> {
    await this.#droppedTables.readNoted();
    try {
      const ends = this.#watches ? await openEnds(this.#stage) : null;
      if (ends !== null) {
        await this.#renamedTables.begin(ends);
        await this.#replacedColumns.look(ends);
      }
    } catch (error) {
      if (!isUnderstudyError(error, 'PRODUCTION_UNREACHABLE')) throw error;
      const what = 'cannot look for tables that production renamed';
      this.#stage.context.logger.warn(what, { error });
    }
    await this.#droppedTables.begin();
  }

  /**
   * Asks production's catalogue about a change that the shadow refuses, or that cannot be read,
   * before it is set aside. SCHEMA_CHANGED where production's table was changed in a way that is
   * followed. Production that is away explains nothing: what is set aside can be replayed.
   */
  readonly explain: ExplainRefusal = async ({ table, at }, cause) => {
    const label = tableName(table);
    const now = performance.now();
    if (now - (this.#looked.get(label) ?? -Infinity) < LOOK_AGAIN_MS) return;
    this.#looked.set(label, now);
    const context = { ...at, table: label };
    const error = new UnderstudyError('SCHEMA_CHANGED', cause.message, context);
    const changes = await this.#changes(error, await openEnds(this.#stage)).catch(
      (failure: unknown) => {
        if (!isUnderstudyError(failure, 'PRODUCTION_UNREACHABLE')) throw failure;
        this.#stage.context.logger.warn('cannot ask production why a change is refused', {
          ...{ table: label, error: failure },
        });
        return [];
      },
    );
    if (changes.length > 0) throw error;
  };

  readonly held: SchemaWatch['held'] = (error) => {
    // What is told of a table is no change of a row, which could be set aside.
    if (error instanceof TableDropped || error instanceof ColumnsReplaced) return null;
    if (error instanceof TableRenamedTold) return null;
    return this.#held.get(error.context.table ?? '') ?? null;
  };

  readonly mayLack: SchemaWatch['mayLack'] = (table, column) =>
    // Where nobody can be asked, nothing is to be seen.
    this.#held.has(table) ? false : !this.#watches || this.#unsent.has(`${table} ${column}`);

  readonly mayDiffer: SchemaWatch['mayDiffer'] = (table) =>
    this.#held.has(table) ? false : !this.#watches || this.#keyed.has(table);

  readonly isGone: SchemaWatch['isGone'] = (table, at) => this.#droppedTables.isGone(table, at);
  readonly isOld: SchemaWatch['isOld'] = (table, at) => this.#droppedTables.isOld(table, at);
  readonly isOfBefore: SchemaWatch['isOfBefore'] = (table, at) =>
    !this.#watches || this.#droppedTables.isOfBefore(table, at);
  readonly waits: SchemaWatch['waits'] = (table) =>
    this.#seen !== null || this.#droppedTables.waits(table);
  readonly knowsStatement: SchemaWatch['knowsStatement'] = (table, at) =>
    !this.#watches || this.#droppedTables.knowsStatement(table, at);
  readonly knowsRenames: SchemaWatch['knowsRenames'] = (at) =>
    !this.#watches || this.#renamedTables.knowsStatement(at);
  readonly heldUnder: SchemaWatch['heldUnder'] = (table) => this.#under.get(table) ?? table;
  readonly saw: SchemaWatch['saw'] = (row) => {
    this.#renamedTables.saw(row);
  };
  readonly knowsDropped: SchemaWatch['knowsDropped'] = (table) =>
    !this.#watches || this.#droppedTables.knows(table);
  readonly isKept: SchemaWatch['isKept'] = (table) =>
    this.#watches && this.#droppedTables.knows(table);

  readonly mayHave: SchemaWatch['mayHave'] = (table, column, { topic, partition, offset }) => {
    if (this.#held.has(table)) return false;
    const end = this.#former.get(`${table} ${column}`)?.get(partitionKey(topic, partition));
    return !this.#watches || (end !== undefined && offset < end);
  };

  /** Whether production can be asked, and the shadow be changed. */
  get #watches(): boolean {
    const { context, database } = this.#stage;
    return context.config.production !== undefined && schemaTargetOf(database) !== null;
  }

  /**
   * Carries out what `error` is due to. False if it is due to no change that production's catalogue
   * tells. Errors: that of `error`, with the change, where it is not to be carried out or cannot be;
   * those of SchemaSource and SchemaTarget.
   */
  async mend(error: UnderstudyError): Promise<boolean> {
    const { context } = this.#stage;
    if (this.#seen !== null) throw this.#seen.error;
    const ends = await persistently(this.#stage, () => openEnds(this.#stage));
    if (ends === null) return false;
    if (error instanceof ColumnsReplaced) return this.#droppedTables.mendReplaced(error);
    if (error instanceof TableDropped) return this.#droppedTables.mend(error, ends);
    if (error instanceof TableRenamedTold) return this.#renamedTables.mend(error, ends);
    const changes = await persistently(this.#stage, () => this.#changes(error, ends));
    if (changes.length === 0) {
      return (
        this.#isKeyed(error) ||
        this.#isSent(error) ||
        (await this.#isFormer(error, ends)) ||
        (await this.#renamedTables.remembers(error, ends)) ||
        (await this.#droppedTables.isOfGone(error, ends)) ||
        this.#isStale(error)
      );
    }
    for (const change of changes) {
      const policy = policyOf(change, context.config);
      if (policy === 'fail') throw refused(error, change, null);
      if (policy === 'hold') {
        this.#hold(error, change);
        return true;
      }
    }
    await this.#carry(changes, ends, error);
    return true;
  }

  async accept(label: string): ReturnType<typeof acceptChanges> {
    const { database } = this.#stage;
    const ends = await openEnds(this.#stage);
    if (ends === null) {
      const what = 'changes of production’s schema are not carried over here';
      const detail = 'production must be configured, and of an engine whose schema is followed';
      throw new UnderstudyError('UNSUPPORTED', what, { database: database.name, detail });
    }
    const accepted: SchemaChange[] = [];
    let table = label;
    for (;;) {
      const changes = await this.#changesOf(table, ends);
      if (accepted.length === 0 && changes.length === 0) {
        const isHere = (await database.catalogue()).has(table);
        if (!isHere) {
          throw new UnderstudyError('TABLE_NOT_FOLLOWED', 'there is no such table', { table });
        }
      }
      await this.#acceptAll(changes, ends, table);
      accepted.push(...changes);
      const renamed = changes.findLast(({ kind }) => kind === 'renameTable');
      if (renamed === undefined) break;
      // What else was changed of it is told by its new name.
      table = tableName(renamed.table);
    }
    await this.#droppedTables.accept(label, ends);
    if (table !== label) await this.#droppedTables.accept(table, ends);
    return { changes: accepted.map(describeChange), table };
  }

  async #acceptAll(changes: readonly SchemaChange[], ends: Ends, table: string): Promise<void> {
    const { database } = this.#stage;
    const what = 'a change of production’s schema cannot be carried out';
    const error = new UnderstudyError('SCHEMA_CHANGED', what, { table });
    for (const change of changes) {
      const isUnsure =
        (change.kind === 'rename' && !change.certain) ||
        (change.kind === 'renameTable' && change.until === null);
      if (!isUnsure) continue;
      const why = `say which of both it was: ALTER TABLE in ${database.name}, then replay`;
      throw refused(error, change, why);
    }
    await this.#carry(changes, ends, error);
  }

  async #carry(
    changes: readonly SchemaChange[],
    ends: Ends,
    error: UnderstudyError,
  ): Promise<void> {
    const { context, holder } = this.#stage;
    const carried: CarriedChange[] = [];
    for (const change of inTurn(changes)) {
      const found = await persistently(this.#stage, () =>
        ends.source.finding(change, context.includes),
      );
      switch (found.kind) {
        case 'absent':
          throw refused(error, change, 'production has it no more');
        case 'untold':
          throw refused(error, change, found.why);
        case 'carried':
          carried.push(found.carried);
          break;
        default:
          unreachable(found);
      }
    }
    const skipped = await persistently(this.#stage, () => ends.target.carry(holder.fence, carried));
    for (const change of changes) {
      if (change.kind !== 'add') continue;
      this.#droppedTables.carriedAdd(tableName(change.table), change.column.name);
    }
    const made = changes.filter(({ kind }) => kind === 'newTable').map(({ table }) => table);
    if (made.length > 0) await this.#renamedTables.carriedNew(made, ends);
    await this.#replacedColumns.carried(changes, ends);
    await this.#tell(changes, skipped);
  }

  /** Lets the table of `error` wait from the record on that it is of. */
  #hold(error: UnderstudyError, change: SchemaChange): void {
    const { context, database } = this.#stage;
    let { table = '' } = error.context;
    if (change.kind === 'renameTable') {
      table = tableName(change.table);
      this.#under.set(table, tableName(change.from));
    }
    const what = describeChange(change);
    if (this.#held.has(table) || !this.#wait(table, what)) throw refused(error, change, null);
    context.logger.error('production’s schema was changed, and the table waits', {
      ...{ database: database.name, table, change: what },
    });
  }

  /** From now on all records of the table are set aside. False if none may be. */
  #wait(table: string, what: string): boolean {
    if (this.#stage.context.config.deadLetters.max === 0) return false;
    this.#held.set(table, { code: 'SCHEMA_CHANGED', message: heldFor(what) });
    return true;
  }

  /** The connector was told to key the table's records in its own way: true once that is known. */
  #isKeyed(error: UnderstudyError): boolean {
    if (!(error instanceof KeyDiffers)) return false;
    this.#keyed.add(error.context.table ?? '');
    return true;
  }

  /** Records lack a column that production has: true once it is known as such. */
  #isSent({ code, context: { table: label, column } }: UnderstudyError): boolean {
    if (code !== 'SCHEMA_CHANGED' || label === undefined || column === undefined) return false;
    // This one alone: others of its table may be dropped yet.
    this.#unsent.add(`${label} ${column}`);
    return true;
  }

  /**
   * A record of before comes again, with a column that was dropped or renamed since: true once it is known
   * how far such records may be in the log. Beyond, production may have the column again.
   */
  async #isFormer(error: UnderstudyError, ends: Ends): Promise<boolean> {
    const { code } = error;
    const { table: label, column } = error.context;
    if (code !== 'COLUMN_UNKNOWN' || label === undefined || column === undefined) return false;
    const { context, database } = this.#stage;
    const table = (await database.catalogue()).get(label);
    if (table === undefined) return false;
    const id = table.partitionOf ?? table.id;
    if (table.former?.has(column) !== true) {
      // A trunk may be younger than what the log holds.
      const history = ends.source.isTold ? await readSchemaHistory(this.#stage) : [];
      const now = becameOf(history, id, column);
      if (now === undefined) return false;
      await ends.target.remember(this.#stage.holder.fence, { table: id, name: column, now });
    }
    await using source = await context.openSource();
    const offsets = await source.ends();
    // After the ends: what production has not by now, they have of before only.
    const columns = (await ends.production.catalogue()).get(tableName(id))?.columns ?? [];
    if (columns.some(({ name }) => name === column)) return false;
    this.#former.set(`${label} ${column}`, offsets);
    return true;
  }

  /** The changes that lead to such an error; to a refusal, those only that are carried out. */
  async #changes(error: UnderstudyError, ends: Ends | null): Promise<readonly SchemaChange[]> {
    const { table: label } = error.context;
    if (ends === null || label === undefined) return [];
    const { config } = this.#stage.context;
    const isUnknown = error.code === 'TABLE_UNKNOWN';
    const changes = await this.#changesOf(label, ends, isUnknown);
    return changes.filter(
      (change) =>
        leadsTo(change, error) && (!isRefusal(error) || policyOf(change, config) === 'apply'),
    );
  }

  /** All changes of one table, by its name in an event. */
  async #changesOf(label: string, ends: Ends, isUnknown = false): Promise<readonly SchemaChange[]> {
    const { context, database } = this.#stage;
    const ours = await database.catalogue();
    const theirs = await ends.production.catalogue();
    const followed = [...theirs].filter(([, table]) => context.includes(table.id));
    const isTrunk = database.marker.kind === 'trunk';
    const named = ours.get(label);
    // A partition's columns are those of its root.
    const root = named?.partitionOf === undefined ? label : tableName(named.partitionOf);
    const { appends, isTold } = ends.source;
    const found = changesBetween(ours, new Map(followed), appends);
    const of = (...labels: readonly string[]): readonly SchemaChange[] =>
      found.filter((change) => labels.includes(tableName(change.table)));
    const all = of(root);
    // A record of before may be of a table that was made since and has another name by now.
    const others =
      isTold && isUnknown ? await this.#renamedTables.namesNow(root, { ours, theirs }) : [];
    if (others.length > 0) {
      const made = of(root, ...others).filter(({ kind }) => kind === 'newTable');
      return this.#clarified(made);
    }
    if (all.some(({ kind }) => kind === 'newTable' || kind === 'droppedTable')) {
      const renames = await this.#renamedTables.of(root, { ends, ours, theirs });
      if (renames.length > 0) return renames;
    }
    // A table of a rollout that production has not may be the candidate's.
    const changes = all.filter(({ kind }) => isTrunk || kind !== 'droppedTable');
    if (!isTold) return changes;
    const clear = await this.#clarified(changes);
    const [before, now] = [ours.get(root), theirs.get(root)];
    return before === undefined || now === undefined ? clear : withKeyChange(clear, before, now);
  }

  /** With what the connector told of them, which may come a moment after a row does. */
  async #clarified(changes: readonly SchemaChange[]): Promise<readonly SchemaChange[]> {
    if (!changes.some(isUnclear)) return changes;
    const { holder, stopping } = this.#stage;
    const deadline = performance.now() + TOLD_WITHIN_MS;
    for (;;) {
      const clear = clarified(changes, await readSchemaHistory(this.#stage));
      if (!clear.some(isUnclear) || performance.now() > deadline) return clear;
      await sleep(LOOK_FOR_TOLD_MS, AbortSignal.any([stopping, holder.lost]));
    }
  }

  /** Somebody changed the shadow's table while it was followed: true once for each trouble. */
  async #isStale({ code, context: { table: label, column } }: UnderstudyError): Promise<boolean> {
    const table = (await this.#stage.database.catalogue()).get(label ?? '');
    const isThere =
      code === 'TABLE_UNKNOWN'
        ? table !== undefined
        : code === 'COLUMN_UNKNOWN' && table?.columns.some(({ name }) => name === column) === true;
    const trouble = JSON.stringify([code, label, column]);
    if (!isThere || this.#begunAgain.has(trouble)) return false;
    this.#begunAgain.add(trouble);
    return true;
  }

  async #tell(changes: readonly SchemaChange[], skipped: readonly string[]): Promise<void> {
    const { context, database } = this.#stage;
    const control = await context.control();
    for (const change of changes) {
      const where = { table: tableName(change.table), change: describeChange(change) };
      const all = { database: database.name, ...where };
      context.logger.info('followed a change of production’s schema', all);
      await control.audit(context.holder, 'schema change', database.name, where);
    }
    for (const what of skipped) {
      context.logger.warn('not carried into the shadow', { database: database.name, what });
    }
  }
}
