/**
 * Columns that production replaced by others of their names and types, where neither a record nor a
 * statement tells of it: by what production's catalogue calls them for itself.
 *
 * Invariant: a number in the ledger is that of the column whose values the shadow has under the name. It
 * is replaced only once the table waits for the column's sake, or with a change of the column that was
 * carried here.
 */
import { tableName, type TableId } from '../change/table-id.ts';
import type { TableIdentity } from '../dialect/evolving.ts';
import { isUnderstudyError } from '../errors/understudy-error.ts';
import type { SchemaChange } from '../schema/schema-change.ts';
import type { TableSchema } from '../schema/table-schema.ts';
import { sleep } from '../util/wait.ts';
import { openEnds, type Ends } from './schema-ends.ts';
import type { Stage } from './stage.ts';

/** How long it may take until it is seen, while nothing makes anyone look. */
const LOOK_EVERY_MS = 15_000;

export interface ReplacedColumnsParts {
  /** The table waits from now on. Errors: SCHEMA_CHANGED where it may not. */
  readonly mixed: (table: TableId, columns: readonly string[]) => Promise<void>;
}

export class ReplacedColumns {
  readonly #stage: Stage;
  readonly #parts: ReplacedColumnsParts;

  constructor(stage: Stage, parts: ReplacedColumnsParts) {
    this.#stage = stage;
    this.#parts = parts;
  }

  /** Looks once. Errors: SCHEMA_CHANGED where a table is to stop who follows; PRODUCTION_UNREACHABLE. */
  async look({ source, target }: Ends): Promise<void> {
    if (source.identities === null || target.identities === null) return;
    const { database, holder } = this.#stage;
    // First what the shadow has: what production adds meanwhile is not of it.
    const ours = await database.catalogue();
    const known = await target.identities.known();
    const now = new Map((await source.identities()).tables.map((one) => [one.id, one]));
    for (const before of known) {
      const table = ours.get(tableName(before.table));
      const theirs = now.get(before.id);
      if (table === undefined || theirs === undefined) continue;
      const columns = replacedIn(table, before, theirs);
      if (columns.length > 0) await this.#parts.mixed(table.id, columns);
      const numbers = numbersNow(table, before, theirs);
      if (numbers !== null) {
        await target.identities.keep(holder.fence, [{ ...before, columns: numbers }]);
      }
    }
  }

  /** Looks again and again until `signal`; `onFound` is told of what is to stop who follows. */
  async watch(signal: AbortSignal, onFound: (error: unknown) => void): Promise<void> {
    let isAway = false;
    for (;;) {
      await sleep(LOOK_EVERY_MS, signal);
      try {
        const ends = await openEnds(this.#stage);
        if (ends !== null) await this.look(ends);
        isAway = false;
      } catch (error) {
        if (signal.aborted) return;
        const passes = ['PRODUCTION_UNREACHABLE', 'SHADOW_UNREACHABLE', 'APPLY_BLOCKED'] as const;
        if (!isUnderstudyError(error, ...passes)) {
          onFound(error);
          return;
        }
        const what = 'cannot look for columns that production replaced';
        if (!isAway) this.#stage.context.logger.warn(what, { error });
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
