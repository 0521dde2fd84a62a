/**
 * Follows production's schema. Who follows stops for a record that the shadow cannot take as its
 * tables are; production's catalogue then tells what was changed, the configuration says what is to
 * become of such a change, and following begins again at that record.
 */
import type { ExplainRefusal } from '../apply/batch-writer.ts';
import type { DeadCause } from '../change/dead-cause.ts';
import { parsePartitionKey, partitionKey, type OffsetMap } from '../change/position.ts';
import type { SchemaChangeRecord } from '../change/table-change.ts';
import { tableName } from '../change/table-id.ts';
import type { ProductionDatabase } from '../dialect/dialect.ts';
import {
  schemaSourceOf,
  schemaTargetOf,
  type CarriedChange,
  type SchemaSource,
  type SchemaTarget,
} from '../dialect/evolving.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import {
  changesBetween,
  describeChange,
  withKeyChange,
  type SchemaChange,
} from '../schema/schema-change.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import { becameOf, clarified, wasDropped } from '../schema/told-changes.ts';
import { unreachable } from '../util/assert.ts';
import { backoffMs, sleep } from '../util/wait.ts';
import { readSchemaHistory } from './schema-history.ts';
import { KeyDiffers, TableDropped, type SchemaWatch } from './schema-watch.ts';
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

/** How long a change may be unclear that the connector did not tell of yet, and how often it is asked. */
const TOLD_WITHIN_MS = 5_000;
const LOOK_FOR_TOLD_MS = 200;

/** Runs `follow`, and again after each change of the schema that it stopped for. */
export async function followEvolving<T>(stage: Stage, follow: () => Promise<T>): Promise<T> {
  const evolution = new Evolution(stage);
  stage.watchSchema(evolution);
  await evolution.lookForDropped();
  for (;;) {
    try {
      return await follow();
    } catch (error) {
      if (!isUnderstudyError(error, ...TROUBLES) || !(await evolution.mend(error))) throw error;
      await stage.stopFollowing();
    }
  }
}

/**
 * Carries out all that production changed of one table, whatever the configuration says of it, as
 * far as it is certain what it was. Returns the changes in a few words each. Errors: SCHEMA_CHANGED
 * for one that cannot be carried out, UNSUPPORTED where none is, those of SchemaSource and
 * SchemaTarget. Nobody must follow meanwhile.
 */
export function acceptChanges(stage: Stage, table: string): Promise<readonly string[]> {
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
  /** Tables whose records wait, whatever they are. */
  readonly #waiting = new Set<string>();
  /** Tables that the connector told of as dropped. */
  readonly #dropped = new Set<string>();
  /** Tables that were dropped here too: how far the log may have rows of them. */
  readonly #gone = new Map<string, OffsetMap>();
  /** `table column`, of columns that production has no more: how far the log may have them. */
  readonly #former = new Map<string, OffsetMap>();

  constructor(stage: Stage) {
    this.#stage = stage;
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
    const changes = await this.#changes(error, await this.#ends()).catch((failure: unknown) => {
      if (!isUnderstudyError(failure, 'PRODUCTION_UNREACHABLE')) throw failure;
      this.#stage.context.logger.warn('cannot ask production why a change is refused', {
        ...{ table: label, error: failure },
      });
      return [];
    });
    if (changes.length > 0) throw error;
  };

  readonly held: SchemaWatch['held'] = ({ context: { table = '' } }) =>
    this.#held.get(table) ?? null;

  readonly mayLack: SchemaWatch['mayLack'] = (table, column) =>
    // Where nobody can be asked, nothing is to be seen.
    this.#held.has(table) ? false : !this.#watches || this.#unsent.has(`${table} ${column}`);

  readonly mayDiffer: SchemaWatch['mayDiffer'] = (table) =>
    this.#held.has(table) ? false : !this.#watches || this.#keyed.has(table);

  readonly isGone: SchemaWatch['isGone'] = (table, at) => {
    const ends = this.#gone.get(table);
    if (at === undefined || ends === undefined) return ends !== undefined;
    return at.offset < (ends.get(partitionKey(at.topic, at.partition)) ?? 0n);
  };

  readonly waits: SchemaWatch['waits'] = (table) => this.#waiting.has(table);

  readonly knowsDropped: SchemaWatch['knowsDropped'] = (table) =>
    !this.#watches || this.#dropped.has(table);

  readonly isKept: SchemaWatch['isKept'] = (table) => this.#watches && this.#dropped.has(table);

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
    const ends = await this.#persistently(() => this.#ends());
    const changes = await this.#persistently(() => this.#changes(error, ends));
    if (ends === null) return false;
    if (error instanceof TableDropped) return this.#mendDropped(error, ends);
    if (changes.length === 0) {
      return (
        this.#isKeyed(error) ||
        this.#isSent(error) ||
        (await this.#isFormer(error, ends)) ||
        (await this.#isOfGone(error, ends)) ||
        this.#isStale(error)
      );
    }
    for (const change of changes) {
      const policy = policyOf(change, context.config);
      if (policy === 'fail') throw refused(error, change, null);
      if (policy === 'hold') return this.#hold(error, change);
    }
    await this.#carry(changes, ends, error);
    return true;
  }

  async accept(table: string): Promise<readonly string[]> {
    const { database } = this.#stage;
    const ends = await this.#ends();
    if (ends === null) {
      const what = 'changes of production’s schema are not carried over here';
      const detail = 'production must be configured, and of an engine whose schema is followed';
      throw new UnderstudyError('UNSUPPORTED', what, { database: database.name, detail });
    }
    const changes = await this.#changesOf(table, ends);
    if (changes.length === 0 && !(await database.catalogue()).has(table)) {
      throw new UnderstudyError('TABLE_NOT_FOLLOWED', 'there is no such table', { table });
    }
    const what = 'a change of production’s schema cannot be carried out';
    const error = new UnderstudyError('SCHEMA_CHANGED', what, { table });
    for (const change of changes) {
      if (change.kind !== 'rename' || change.certain) continue;
      const why = `say which of both it was: ALTER TABLE in ${database.name}, then replay`;
      throw refused(error, change, why);
    }
    await this.#carry(changes, ends, error);
    return changes.map(describeChange);
  }

  async #carry(
    changes: readonly SchemaChange[],
    ends: Ends,
    error: UnderstudyError,
  ): Promise<void> {
    const { context, holder } = this.#stage;
    const carried: CarriedChange[] = [];
    for (const change of inTurn(changes)) {
      const found = await this.#persistently(() => ends.source.finding(change, context.includes));
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
    const skipped = await this.#persistently(() => ends.target.carry(holder.fence, carried));
    await this.#tell(changes, skipped);
  }

  /** True: what is not carried out is known from now on. */
  async #mendDropped(error: TableDropped, ends: Ends): Promise<boolean> {
    const { table: label = '' } = error.context;
    const { context, database } = this.#stage;
    this.#dropped.add(label);
    const table = (await database.catalogue()).get(label)?.id;
    if (table === undefined || !context.includes(table)) return true;
    const change: SchemaChange = { kind: 'droppedTable', table };
    const policy = policyOf(change, context.config);
    if (policy === 'fail') throw refused(error, change, null);
    const theirs = await this.#persistently(() => ends.production.catalogue());
    // It was made again: rows of both are in the log, and a person must say when those of before are done.
    if (theirs.has(label) || error.isMadeAgain) {
      this.#waiting.add(label);
      return this.#hold(error, change);
    }
    if (policy === 'apply') await this.#carry([change], ends, error);
    else this.#tellKept(label);
    return true;
  }

  /**
   * Looks for tables of the trunk that production has no more, since nothing else tells of them on some
   * engines. SCHEMA_CHANGED where such a table is to stop who follows.
   */
  async lookForDropped(): Promise<void> {
    const { context, database } = this.#stage;
    if (database.marker.kind !== 'trunk' || !this.#watches) return;
    const seen = await this.#lookAtProduction();
    if (seen === null) return;
    const { position } = await database.progress();
    const topics = new Set([...position.offsets.keys()].map((key) => parsePartitionKey(key).topic));
    const ours = await database.catalogue();
    const changes = changesBetween(ours, seen.tables, seen.ends.source.appends);
    // One of the same columns is new: it may be that table under another name.
    const isUnsure = changes.some((change) => change.kind === 'newTable' && !change.certain);
    let history: readonly SchemaChangeRecord[] | null = null;
    for (const change of changes) {
      const { table } = change;
      const label = tableName(table);
      if (change.kind !== 'droppedTable' || !context.includes(table)) continue;
      if (ours.get(label)?.partitionOf !== undefined) continue;
      // A table that no record ever was of is not production's.
      if (!topics.has(`${context.config.source.topicPrefix}.${label}`)) continue;
      // Some catalogues show what the account may see; where the connector tells, its word counts.
      if (seen.ends.source.isTold) {
        history ??= await readSchemaHistory(this.#stage);
        if (!wasDropped(history, label)) continue;
      }
      this.#dropped.add(label);
      const what = 'production dropped a table';
      const error = new UnderstudyError('SCHEMA_CHANGED', what, { table: label });
      const policy = policyOf(change, context.config);
      if (policy === 'fail') throw refused(error, change, null);
      if (policy === 'apply' && !isUnsure) await this.#carry([change], seen.ends, error);
      else this.#tellKept(label);
    }
  }

  /** Null where it cannot be looked at now: what it has is not needed before a record says so. */
  async #lookAtProduction(): Promise<{
    readonly ends: Ends;
    readonly tables: SchemaCatalogue;
  } | null> {
    const { context } = this.#stage;
    try {
      const ends = await this.#ends();
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

  #tellKept(table: string): void {
    const { context, database } = this.#stage;
    context.logger.warn('production has a table no more, and it is kept: see `schema accept`', {
      ...{ database: database.name, table },
    });
  }

  /** A record is of a table that was dropped: true once it is known how far such records may be. */
  async #isOfGone(error: UnderstudyError, ends: Ends): Promise<boolean> {
    const { table: label = '' } = error.context;
    if (error.code !== 'TABLE_UNKNOWN') return false;
    const isFormer = (await ends.target.formerTables()).has(label);
    if (!isFormer && !ends.source.isTold) return false;
    if (!isFormer && !wasDropped(await readSchemaHistory(this.#stage), label)) return false;
    await using source = await this.#stage.context.openSource();
    const offsets = await source.ends();
    // After the ends: what production has not by now, they have of before only.
    if ((await ends.production.catalogue()).has(label)) return false;
    this.#gone.set(label, offsets);
    return true;
  }

  /** Lets the table of `error` wait from the record on that it is of. */
  async #hold(error: UnderstudyError, change: SchemaChange): Promise<boolean> {
    const { context, database } = this.#stage;
    const { table = '' } = error.context;
    const setsAside = context.config.deadLetters.max > 0;
    if (!setsAside || this.#held.has(table)) throw refused(error, change, null);
    const message = `production’s ${describeChange(change)}: see \`schema accept\``;
    this.#held.set(table, { code: 'SCHEMA_CHANGED', message });
    context.logger.error('production’s schema was changed, and the table waits', {
      ...{ database: database.name, table, change: describeChange(change) },
    });
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
    const changes = await this.#changesOf(label, ends);
    return changes.filter(
      (change) =>
        leadsTo(change, error) && (!isRefusal(error) || policyOf(change, config) === 'apply'),
    );
  }

  /** All changes of one table, by its name in an event. */
  async #changesOf(label: string, ends: Ends): Promise<readonly SchemaChange[]> {
    const { context, database } = this.#stage;
    const ours = await database.catalogue();
    const theirs = await ends.production.catalogue();
    const followed = [...theirs].filter(([, table]) => context.includes(table.id));
    const isTrunk = database.marker.kind === 'trunk';
    const named = ours.get(label);
    // A partition's columns are those of its root.
    const root = named?.partitionOf === undefined ? label : tableName(named.partitionOf);
    const { appends, isTold } = ends.source;
    const changes = changesBetween(ours, new Map(followed), appends).filter(
      // A table of a rollout that production has not may be the candidate's.
      (change) => tableName(change.table) === root && (isTrunk || change.kind !== 'droppedTable'),
    );
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

  /** Null where nothing is carried over. */
  async #ends(): Promise<Ends | null> {
    const { context, database } = this.#stage;
    const production = await context.production();
    const source = production === null ? null : schemaSourceOf(production);
    const target = schemaTargetOf(database);
    if (production === null || source === null || target === null) return null;
    return { production, source, target };
  }

  /** Again and again while production is away, or who reads the table locks it. */
  async #persistently<T>(act: () => Promise<T>): Promise<T> {
    const { context, giveUpAfterMs, holder, stopping } = this.#stage;
    const deadline = performance.now() + giveUpAfterMs;
    const signal = AbortSignal.any([stopping, holder.lost]);
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await act();
      } catch (error) {
        const passes = isUnderstudyError(error, 'APPLY_BLOCKED', 'PRODUCTION_UNREACHABLE');
        if (!passes || performance.now() > deadline) throw error;
        const state = `retrying ${error.code}`;
        holder.describe(() => ({ state, oldestTransactionMs: null, degraded: 0 }));
        if (attempt % 20 === 3) {
          context.logger.warn('cannot follow a change of production’s schema yet', { error });
        }
        await sleep(backoffMs(attempt, 50, 2_000), signal);
      }
    }
  }
}

interface Ends {
  readonly production: ProductionDatabase;
  readonly source: SchemaSource;
  readonly target: SchemaTarget;
}
