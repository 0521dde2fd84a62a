/**
 * Tables that production gave another name while they are followed.
 *
 * Invariant: which table a record is of is told by the name it was sent under and by its place in
 * production's log (schema/table-renames.ts), never by when it is read. So a table may be renamed here
 * before all records of its old name are read, and these may come again. Where no place tells the two
 * tables apart that had one name, the table waits.
 */
import {
  logPosition,
  parsePartitionKey,
  partitionKey,
  type LogOffset,
  type SourcePosition,
} from '../change/position.ts';
import type { ChangeEvent } from '../change/record.ts';
import type { SchemaChangeRecord } from '../change/table-change.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import { connectorNamed } from '../decode/connectors/connectors.ts';
import { isBefore } from '../decode/table-names.ts';
import { schemaTargetOf, type IdentityLedger, type TableIdentity } from '../dialect/evolving.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import { sameColumns, type SchemaChange, type TableRenamed } from '../schema/schema-change.ts';
import { isSameRename, nameBehind, type TableRename } from '../schema/table-renames.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import { toldRenames } from '../schema/told-renames.ts';
import { policyOf, refused } from './change-policy.ts';
import { persistently, type Ends } from './schema-ends.ts';
import { LOOK_FOR_TOLD_MS, readSchemaHistory, TOLD_WITHIN_MS } from './schema-history.ts';
import type { TableRenamedTold } from './schema-watch.ts';
import type { Stage } from './stage.ts';
import { sleep } from '../util/wait.ts';

export interface RenamedParts {
  readonly carry: (
    changes: readonly SchemaChange[],
    ends: Ends,
    error: UnderstudyError,
  ) => Promise<void>;
  /** Records of its new name wait with those of its old one, for this reason. */
  readonly hold: (error: UnderstudyError, change: TableRenamed) => void;
  /** Production has the table no more among those followed. */
  readonly dropped: (table: TableId, error: UnderstudyError, ends: Ends) => Promise<void>;
  /** It is noted that all records of the table wait. */
  readonly wait: (table: TableId) => Promise<void>;
  /** Whether all records of the table wait. */
  readonly waits: (label: string) => boolean;
  /** Whether production dropped the table, and it is kept. */
  readonly isKept: (label: string) => boolean;
}

const WHAT = 'production renamed a table';

export class RenamedTables {
  readonly #stage: Stage;
  readonly #parts: RenamedParts;
  /** Places of statements that were looked into. */
  readonly #told = new Set<string>();
  /** By partition, the last row that was read. */
  readonly #rows = new Map<string, ChangeEvent>();

  constructor(stage: Stage, parts: RenamedParts) {
    this.#stage = stage;
    this.#parts = parts;
  }

  /** A row was read: what is told later may show that it was of another table. */
  saw(row: ChangeEvent): void {
    if ('lsn' in row.source) return;
    this.#rows.set(partitionKey(row.at.topic, row.at.partition), row);
  }

  knowsStatement(at: LogOffset): boolean {
    return this.#told.has(placeOf(at));
  }

  /**
   * What production renamed before following begins, so far as it can be asked. SCHEMA_CHANGED where that
   * is to stop who follows.
   */
  async begin(ends: Ends): Promise<void> {
    await persistently(this.#stage, () => ends.target.finishRenames(this.#stage.holder.fence));
    if (ends.source.isTold) await this.#beginTold(ends);
    else await this.#beginByIdentity(ends);
  }

  /** Statements that were told while nobody followed: all of them, since rows may come first. */
  async #beginTold(ends: Ends): Promise<void> {
    const { context, database } = this.#stage;
    const { position } = await database.progress();
    const { topicPrefix } = context.config.source;
    await using source = await context.openSource((topic) => topic === topicPrefix);
    const isAhead = [...(await source.ends())].some(
      ([key, end]) =>
        parsePartitionKey(key).topic === topicPrefix && end > (position.offsets.get(key) ?? 0n),
    );
    if (!isAhead) return;
    const history = await readSchemaHistory(this.#stage);
    const applied = position.source;
    const theirs =
      position.offsets.size === 0 && applied === null ? await ends.production.catalogue() : null;
    for (const [i, record] of history.entries()) {
      const key = partitionKey(record.at.topic, record.at.partition);
      if (record.at.offset < (position.offsets.get(key) ?? 0n)) continue;
      await this.#follow(record, { ends, history, index: i, applied, theirs });
    }
  }

  async mend(error: TableRenamedTold, ends: Ends): Promise<boolean> {
    const history = await readSchemaHistory(this.#stage);
    const index = history.findIndex(({ at }) => at.offset === error.at.offset);
    const record = history[index];
    if (record !== undefined)
      await this.#follow(record, { ends, history, index, applied: null, theirs: null });
    this.#told.add(placeOf(error.at));
    return true;
  }

  async #follow(record: SchemaChangeRecord, told: Told): Promise<void> {
    for (const rename of toldRenames(record)) await this.#followOne(rename, record, told);
    this.#told.add(placeOf(record.at));
  }

  async #followOne(rename: TableRename, record: SchemaChangeRecord, told: Told): Promise<void> {
    const { context, database, holder } = this.#stage;
    const { ends, history, index } = told;
    const { from, to, until, turn } = rename;
    if ((await ends.target.renames()).some((one) => isSameRename(one, rename))) return;
    const ours = await database.catalogue();
    const [old, now] = [tableName(from), tableName(to)];
    // Of a table that is not here yet, or was made when it had the new name: its records tell the old one.
    const isYounger = told.theirs !== null && told.theirs.has(old);
    if (!ours.has(old) || isYounger) {
      await ends.target.rememberRename(holder.fence, rename);
      return;
    }
    if (!context.includes(from)) return;
    const change: TableRenamed = { kind: 'renameTable', table: to, from, until, turn, why: null };
    const error = new UnderstudyError('SCHEMA_CHANGED', WHAT, { ...record.at, table: old });
    const isReused = hasAgain(history.slice(index), from);
    if (isReused && this.#mayHaveMixed(old, until, told.applied)) {
      // Rows of the table that has the old name now may be written among those of this one.
      await this.#parts.wait(from);
      if (context.includes(to)) this.#parts.hold(error, { ...change, why: REUSED });
      return;
    }
    if (!context.includes(to)) {
      await this.#parts.dropped(from, error, ends);
      return;
    }
    if (ours.has(now)) {
      await this.#parts.wait(to);
      await this.#parts.dropped(from, error, ends);
      return;
    }
    const policy = policyOf(change, context.config);
    if (policy === 'fail') throw refused(error, change, null);
    if (policy === 'apply') await this.#parts.carry([change], ends, error);
    else {
      if (isReused) await this.#parts.wait(from);
      this.#parts.hold(error, change);
    }
  }

  /** May a row be written, or be about to be, that was sent under the name when another table had it? */
  #mayHaveMixed(label: string, until: SourcePosition, applied: SourcePosition | null): boolean {
    if (applied !== null && this.#isBefore(applied, until) !== true) return true;
    for (const { table, formerly, source } of this.#rows.values()) {
      if (tableName(formerly ?? table) !== label) continue;
      if (this.#isBefore(source, until) !== true) return true;
    }
    return false;
  }

  #isBefore(place: SourcePosition, until: SourcePosition): boolean | null {
    const { connector } = this.#stage.context.config.source;
    return isBefore(connectorNamed(connector), place, until);
  }

  /** Where nothing is told, tables are known again by what production keeps of them. */
  async #beginByIdentity({ production, source, target, ...ends }: Ends): Promise<void> {
    if (source.identities === null || target.identities === null) return;
    const { context, database } = this.#stage;
    const ours = await database.catalogue();
    // First what is there, and then since when: see `at`.
    const theirs = await production.catalogue();
    const { tables, at } = await source.identities();
    const names = new Map(tables.map(({ id, table }) => [id, table]));
    const known = await target.identities.known();
    for (const { id, table: from } of known) {
      const to = names.get(id);
      const old = tableName(from);
      if (to === undefined || tableName(to) === old || !ours.has(old)) continue;
      const all = { ...ends, production, source, target };
      const why = isReused(old, theirs, tables) ? REUSED : null;
      const change: TableRenamed = {
        kind: 'renameTable',
        table: to,
        from,
        until: at,
        turn: turnOf(at),
        why,
      };
      const error = new UnderstudyError('SCHEMA_CHANGED', WHAT, { table: old });
      // Records of the other one may have been written among this one's.
      if (why !== null) await this.#parts.wait(from);
      if (!context.includes(to) || ours.has(tableName(to))) continue;
      const policy = policyOf(change, context.config);
      if (policy === 'fail') throw refused(error, change, null);
      if (policy === 'apply') await this.#parts.carry([change], all, error);
      else this.#parts.hold(error, change);
    }
    await this.#keepFresh(tables, target.identities);
  }

  /** Tables were made here as production has them now: they are known from now on. */
  async carriedNew(made: readonly TableId[], { source, target }: Ends): Promise<void> {
    if (source.isTold) await this.#rememberInto(made, target);
    if (source.identities === null || target.identities === null) return;
    const { tables } = await persistently(this.#stage, source.identities);
    // With what one of them needs, others were made.
    await this.#keepFresh(tables, target.identities);
  }

  async #keepFresh(tables: readonly TableIdentity[], ledger: IdentityLedger): Promise<void> {
    const ours = await this.#stage.database.catalogue();
    const known = new Set((await ledger.known()).map(({ table }) => tableName(table)));
    const fresh = tables.filter(({ table }) => {
      const label = tableName(table);
      return ours.has(label) && !known.has(label);
    });
    if (fresh.length > 0) await ledger.keep(this.#stage.holder.fence, fresh);
  }

  /** A new table may have had other names before, under which its first rows are in the log. */
  async #rememberInto(made: readonly TableId[], target: Ends['target']): Promise<void> {
    const told = (await readSchemaHistory(this.#stage)).flatMap(toldRenames);
    const labels = new Set(made.map(tableName));
    const own = told.filter((_, i) => labels.has(tableName(nameBehind(told, i))));
    await this.#remember(own, target);
  }

  async #remember(own: readonly TableRename[], target: Ends['target']): Promise<boolean> {
    const known = await target.renames();
    const fresh = own.filter((one) => !known.some((other) => isSameRename(one, other)));
    for (const one of fresh) await target.rememberRename(this.#stage.holder.fence, one);
    return fresh.length > 0;
  }

  /**
   * The renames that made this name what it is, or that this name was given up by, of tables that are here:
   * in turn; none where it is no such table's.
   */
  async of(label: string, { ends, ours, theirs }: Seen): Promise<readonly TableRenamed[]> {
    if (ends.source.isTold) return this.#toldOf(label, ours);
    if (ends.source.identities === null || ends.target.identities === null) return [];
    const { tables, at } = await ends.source.identities();
    const known = await ends.target.identities.known();
    const found = renameIn(label, known, tables);
    if (found === null) return lookalike(label, { ours, theirs, known });
    const { from, to } = found;
    const isFree = ours.has(tableName(from)) && !ours.has(tableName(to));
    if (!isFree || !this.#stage.context.includes(to)) return [];
    const why = isReused(tableName(from), theirs, tables) ? REUSED : null;
    if (why !== null) await this.#parts.wait(from);
    return [{ kind: 'renameTable', table: to, from, until: at, turn: turnOf(at), why }];
  }

  async #toldOf(label: string, ours: SchemaCatalogue): Promise<readonly TableRenamed[]> {
    const told = (await this.#historyWith(label, ours)).flatMap(toldRenames);
    const known = (await schemaTargetOf(this.#stage.database)?.renames()) ?? [];
    const open = told.filter((one) => !known.some((other) => isSameRename(one, other)));
    // By the last one into that name backwards; or, of a name that is given up, from it on.
    const chain: TableRename[] = [];
    let name = label;
    const has = ({ from, turn }: TableRename): boolean =>
      // What has the name since is another table.
      ours.has(tableName(from)) &&
      !known.some((one) => tableName(one.to) === tableName(from) && one.turn >= turn);
    for (const rename of open.toReversed()) {
      if (tableName(rename.to) !== name) continue;
      chain.unshift(rename);
      name = tableName(rename.from);
      if (has(rename)) break;
    }
    if (chain.length === 0 && ours.has(label)) {
      const first = open.findIndex(({ from }) => tableName(from) === label);
      if (first >= 0) chain.push(...chainFrom(open.slice(first)));
    }
    const [first] = chain;
    if (first === undefined || !has(first)) return [];
    if (chain.some(({ to }) => ours.has(tableName(to)))) return [];
    const why = this.#parts.waits(tableName(first.from)) ? REUSED : null;
    return chain.map(({ from, to, until, turn }) => ({
      ...{ kind: 'renameTable', table: to, from, until, turn, why },
    }));
  }

  /** What is told of a name that is new may come a moment after a row does. */
  async #historyWith(label: string, ours: SchemaCatalogue): Promise<readonly SchemaChangeRecord[]> {
    const { holder, stopping } = this.#stage;
    const deadline = performance.now() + TOLD_WITHIN_MS;
    for (;;) {
      const history = await readSchemaHistory(this.#stage);
      const told = history.flatMap(({ tables }) => tables);
      const isTold = ours.has(label) || told.some(({ table }) => tableName(table) === label);
      if (isTold || performance.now() > deadline) return history;
      await sleep(LOOK_FOR_TOLD_MS, AbortSignal.any([stopping, holder.lost]));
    }
  }

  /** The names now of tables that had this one, and that are not here: made since, and named anew. */
  async namesNow(label: string, { ours, theirs }: Omit<Seen, 'ends'>): Promise<readonly string[]> {
    const told = (await readSchemaHistory(this.#stage)).flatMap(toldRenames);
    const names = told.flatMap(({ from }, i) =>
      tableName(from) === label ? [tableName(nameBehind(told, i))] : [],
    );
    return [...new Set(names)].filter((name) => !ours.has(name) && theirs.has(name));
  }

  /** A record has a name of before that nothing here tells of: true once that is known. */
  async remembers(error: UnderstudyError, ends: Ends): Promise<boolean> {
    const { table: label = '' } = error.context;
    if (error.code !== 'TABLE_UNKNOWN' || !ends.source.isTold) return false;
    const told = (await readSchemaHistory(this.#stage)).flatMap(toldRenames);
    const ours = await this.#stage.database.catalogue();
    const own = told.filter(({ from }, i) => {
      const now = tableName(nameBehind(told, i));
      return tableName(from) === label && ours.has(now) && !this.#parts.isKept(now);
    });
    return this.#remember(own, ends.target);
  }
}

/** Why a table does not get its new name by itself. */
const REUSED =
  'another table has its old name by now, and which rows are of which nothing tells: accept it, and repair both';
const LOOKS_SO =
  'nothing tells whether it is that table: if it is, rename the shadow’s, else drop that, then replay';

interface Told {
  readonly ends: Ends;
  readonly history: readonly SchemaChangeRecord[];
  readonly index: number;
  /** How far rows were applied by others before; null if that is not to be looked at. */
  readonly applied: SourcePosition | null;
  /**
   * Production's tables, where nothing was followed yet: then the trunk was made of them as they were after
   * most of what is told. Else null.
   */
  readonly theirs: SchemaCatalogue | null;
}

interface Seen {
  readonly ends: Ends;
  readonly ours: SchemaCatalogue;
  readonly theirs: SchemaCatalogue;
}

/** Does a table get this name, after it was given up by the first of these? */
function hasAgain(history: readonly SchemaChangeRecord[], name: TableId): boolean {
  const label = tableName(name);
  return history.some(
    (record, i) =>
      toldRenames(record).some(({ to }) => tableName(to) === label) ||
      (i > 0 &&
        record.tables.some(({ kind, table }) => kind === 'created' && tableName(table) === label)),
  );
}

function chainFrom(renames: readonly TableRename[]): readonly TableRename[] {
  const [first, ...rest] = renames;
  const chain = first === undefined ? [] : [first];
  for (const rename of rest) {
    const last = chain.at(-1);
    if (last !== undefined && tableName(rename.from) === tableName(last.to)) chain.push(rename);
  }
  return chain;
}

/** The table that has, or had, this name. */
function renameIn(
  label: string,
  known: readonly TableIdentity[],
  tables: readonly TableIdentity[],
): { readonly from: TableId; readonly to: TableId } | null {
  const theirs = tables.find(({ table }) => tableName(table) === label);
  const ours = known.find(({ table }) => tableName(table) === label);
  const from = theirs && known.find(({ id }) => id === theirs.id)?.table;
  if (from !== undefined && theirs !== undefined) {
    if (tableName(from) !== label) return { from, to: theirs.table };
  }
  const to = ours && tables.find(({ id }) => id === ours.id)?.table;
  if (to === undefined || ours === undefined || tableName(to) === label) return null;
  return { from: ours.table, to };
}

/** A table that is gone, of the same columns, of which production keeps nothing that is known here. */
function lookalike(
  label: string,
  parts: Omit<Seen, 'ends'> & { readonly known: readonly TableIdentity[] },
): readonly TableRenamed[] {
  const { ours, theirs, known } = parts;
  const table = theirs.get(label);
  if (table === undefined || ours.has(label)) return [];
  const named = new Set(known.map((one) => tableName(one.table)));
  const gone = [...ours].filter(
    ([name, old]) => !theirs.has(name) && !named.has(name) && sameColumns(old, table),
  );
  const [only, another] = gone;
  if (only === undefined || another !== undefined) return [];
  return [
    {
      kind: 'renameTable',
      table: table.id,
      from: only[1].id,
      until: null,
      turn: 0n,
      why: LOOKS_SO,
    },
  ];
}

function placeOf({ topic, partition, offset }: LogOffset): string {
  return `${partitionKey(topic, partition)}/${String(offset)}`;
}

function turnOf(at: SourcePosition): bigint {
  return logPosition(at) ?? 0n;
}

/** Has another table the name by now? What was read last is asked too: a migration may just go on. */
function isReused(
  label: string,
  theirs: SchemaCatalogue,
  tables: readonly TableIdentity[],
): boolean {
  return theirs.has(label) || tables.some(({ table }) => tableName(table) === label);
}
