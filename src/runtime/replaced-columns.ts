/**
 * Columns that production replaced by others of their names and types, and tables by others of theirs,
 * where neither a record nor a statement tells of it: by what production's catalogue calls them for itself.
 *
 * Invariant: a number in the ledger is that of the column whose values the shadow has under the name. It
 * is replaced only once the table waits for the column's sake, or with a change of the column that was
 * carried here.
 */
import { tableName, type TableId } from '../change/table-id.ts';
import type { TableIdentity } from '../dialect/evolving.ts';
import type { SchemaChange } from '../schema/schema-change.ts';
import type { TableSchema } from '../schema/table-schema.ts';
import { sleep } from '../util/wait.ts';
import { readKnownTables } from './known-tables.ts';
import { mayLookLater, openEnds, type Ends } from './schema-ends.ts';
import type { Stage } from './stage.ts';

/** How long it may take until it is seen, while nothing makes anyone look. */
const LOOK_EVERY_MS = 15_000;

const CANNOT_LOOK = 'cannot look for columns that production replaced';

export interface ReplacedColumnsParts {
  /** The table waits from now on. Errors: SCHEMA_CHANGED where it may not. */
  readonly mixed: (table: TableId, columns: readonly string[]) => Promise<void>;
  /** So it does, since production has another table of its name. Errors: as of `mixed`. */
  readonly isAnother: (table: TableId) => Promise<void>;
}

export class ReplacedColumns {
  readonly #stage: Stage;
  readonly #parts: ReplacedColumnsParts;

  constructor(stage: Stage, parts: ReplacedColumnsParts) {
    this.#stage = stage;
    this.#parts = parts;
  }

  /** Looks before anything is followed. Errors: SCHEMA_CHANGED where a table is to stop who follows. */
  async begin(): Promise<void> {
    try {
      const ends = await openEnds(this.#stage);
      if (ends !== null) await this.look(ends);
    } catch (error) {
      if (!mayLookLater(error)) throw error;
      this.#stage.context.logger.warn(CANNOT_LOOK, { error });
    }
  }

  /** Looks once. Errors: SCHEMA_CHANGED where a table is to stop who follows; those of both ends. */
  async look(ends: Ends): Promise<void> {
    const { target } = ends;
    const { context, database, holder } = this.#stage;
    // First what the shadow has: what production adds meanwhile is not of it.
    const ours = await database.catalogue();
    const read = await readKnownTables(this.#stage, ends);
    if (read === null) return;
    const now = new Map(read.now.tables.map((one) => [one.id, one]));
    const byName = new Map(read.now.tables.map((one) => [tableName(one.table), one]));
    for (const before of read.known) {
      const label = tableName(before.table);
      const table = ours.get(label);
      if (table === undefined) continue;
      const theirs = now.get(before.id);
      if (theirs === undefined) {
        const another = byName.get(label);
        if (another === undefined || !context.includes(before.table)) continue;
        // First it is noted that it waits: who looks after a crash must find it so, or find it out.
        await this.#parts.isAnother(before.table);
        const isElsewhere = read.known.some(
          (one) => one.id === another.id && ours.has(tableName(one.table)),
        );
        // It is then the one here that has to get this name.
        if (!isElsewhere) await target.identities?.keep(holder.fence, [another]);
        continue;
      }
      const columns = replacedIn(table, before, theirs);
      if (columns.length > 0) await this.#parts.mixed(table.id, columns);
      const numbers = numbersNow(table, before, theirs);
      if (numbers !== null) {
        await target.identities?.keep(holder.fence, [{ ...before, columns: numbers }]);
      }
    }
  }

  /** Looks again and again until `signal`; `onFound` is told of what is to stop who follows. */
  async watch(signal: AbortSignal, onFound: (error: unknown) => Promise<void>): Promise<void> {
    let isAway = false;
    for (;;) {
      await sleep(LOOK_EVERY_MS, signal);
      try {
        const ends = await openEnds(this.#stage);
        if (ends !== null) await this.look(ends);
        isAway = false;
      } catch (error) {
        if (signal.aborted) return;
        if (!mayLookLater(error)) {
          await onFound(error);
          return;
        }
        if (!isAway) this.#stage.context.logger.warn(CANNOT_LOOK, { error });
        isAway = true;
      }
    }
  }

  /** Changes were carried out here: their columns are known as production's are now. */
  async carried(changes: readonly SchemaChange[], { source, target }: Ends): Promise<void> {
    if (source.identities === null || target.identities === null) return;
    const concerned = changes.flatMap((change) => (isOfColumn(change) ? [change] : []));
    if (concerned.length === 0) return;
    const known = await target.identities.known();
    const { tables } = await source.identities();
    const changed = new Map<string, TableIdentity>();
    for (const change of concerned) {
      const label = tableName(change.table);
      const before = changed.get(label) ?? known.find(({ table }) => tableName(table) === label);
      const theirs = tables.find(({ id }) => id === before?.id);
      if (before === undefined || theirs === undefined) continue;
      changed.set(label, { ...before, columns: columnsAfter(change, before, theirs) });
    }
    await target.identities.keep(this.#stage.holder.fence, [...changed.values()]);
  }
}

type OfColumn = Extract<SchemaChange, { kind: 'add' | 'drop' | 'rename' }>;

function isOfColumn(change: SchemaChange): change is OfColumn {
  return change.kind === 'add' || change.kind === 'drop' || change.kind === 'rename';
}

function columnsAfter(
  change: OfColumn,
  before: TableIdentity,
  theirs: TableIdentity,
): ReadonlyMap<string, number> {
  const columns = new Map(before.columns);
  const gone = change.kind === 'rename' ? change.from.name : change.column.name;
  const made = change.kind === 'rename' ? change.to.name : change.column.name;
  const number = change.kind === 'rename' ? columns.get(gone) : theirs.columns.get(made);
  columns.delete(gone);
  if (change.kind !== 'drop' && number !== undefined) columns.set(made, number);
  return columns;
}

/** The columns here whose values are of other ones than production has under their names. */
function replacedIn(
  { columns }: Pick<TableSchema, 'columns'>,
  before: TableIdentity,
  now: TableIdentity,
): readonly string[] {
  return columns.flatMap(({ name }) => {
    const [was, is] = [before.columns.get(name), now.columns.get(name)];
    return was === undefined || is === undefined || was === is ? [] : [name];
  });
}

/** What is known then; null if nothing is new. A column that production has no more stays known. */
function numbersNow(
  { columns }: Pick<TableSchema, 'columns'>,
  before: TableIdentity,
  now: TableIdentity,
): ReadonlyMap<string, number> | null {
  const known = new Map(before.columns);
  for (const { name } of columns) {
    const number = now.columns.get(name);
    if (number !== undefined) known.set(name, number);
  }
  const isNew = [...known].some(([name, number]) => before.columns.get(name) !== number);
  return isNew ? known : null;
}
