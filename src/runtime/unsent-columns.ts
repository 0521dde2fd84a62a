/**
 * What a member makes of records that lack a column: nothing, where production has it all the same and
 * the connector leaves it out. All else is the holder's, which follows production's schema (evolve.ts).
 */
import { isUnderstudyError } from '../errors/understudy-error.ts';
import type { RuntimeContext } from './context.ts';
import { KeyDiffers, type SchemaWatch } from './schema-watch.ts';

export class UnsentColumns implements SchemaWatch {
  readonly #context: RuntimeContext;
  /** `table column`, of production's tables. */
  readonly #unsent = new Set<string>();
  /** Tables with message keys of other columns. */
  readonly #keyed = new Set<string>();

  constructor(context: RuntimeContext) {
    this.#context = context;
  }

  readonly explain: SchemaWatch['explain'] = () => Promise.resolve();
  readonly held: SchemaWatch['held'] = () => null;

  readonly mayLack: SchemaWatch['mayLack'] = (table, column) =>
    // Where nobody can be asked, nothing is to be seen.
    this.#context.config.production === undefined || this.#unsent.has(`${table} ${column}`);

  /** What was dropped or renamed the holder tells. */
  readonly mayHave: SchemaWatch['mayHave'] = () => false;

  readonly mayDiffer: SchemaWatch['mayDiffer'] = (table) =>
    this.#context.config.production === undefined || this.#keyed.has(table);

  readonly isGone: SchemaWatch['isGone'] = () => false;
  readonly isOld: SchemaWatch['isOld'] = () => false;
  readonly waits: SchemaWatch['waits'] = () => false;
  /** The holder follows what the connector tells. */
  readonly knowsDropped: SchemaWatch['knowsDropped'] = () => true;
  readonly knowsStatement: SchemaWatch['knowsStatement'] = () => true;
  readonly knowsRenames: SchemaWatch['knowsRenames'] = () => true;
  readonly heldUnder: SchemaWatch['heldUnder'] = (table) => table;
  readonly saw: SchemaWatch['saw'] = () => undefined;
  readonly isKept: SchemaWatch['isKept'] = () => false;
  /** While one is kept, the holder follows alone. */
  readonly isOfBefore: SchemaWatch['isOfBefore'] = () => true;

  /** Is it of such a record? Then those of its table are taken from now on. */
  async explains(failure: unknown): Promise<boolean> {
    if (!isUnderstudyError(failure, 'SCHEMA_CHANGED')) return false;
    const { table: label, column } = failure.context;
    try {
      const theirs = await (await this.#context.production())?.catalogue();
      const table = theirs?.get(label ?? '');
      if (failure instanceof KeyDiffers) {
        if (table?.key.join('\0') !== failure.tableKey.join('\0')) return false;
        this.#keyed.add(label ?? '');
        return true;
      }
      const columns = table?.columns ?? [];
      if (!columns.some(({ name }) => name === column)) return false;
      for (const { name } of columns) this.#unsent.add(`${label} ${name}`);
      return true;
    } catch (error) {
      if (!isUnderstudyError(error)) throw error;
      return false;
    }
  }
}
