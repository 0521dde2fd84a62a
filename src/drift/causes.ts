/** Names the causes of differences that are known beforehand, and keeps gaps from passing as equal. */
import { tableName } from '../change/table-id.ts';
import type { TableGaps } from '../dialect/dialect.ts';
import type { ColumnDifference, Reason, RowDifference } from '../report/drift-report.ts';

/** A column of which a setting of the connector loses a part. */
export interface LossyColumn {
  /** `schema.name`. */
  readonly table: string;
  readonly column: string;
  readonly setting: string;
  readonly cure: string;
}

const FULL = 'ALTER TABLE … REPLICA IDENTITY FULL in production';

/** The known causes in one table. */
export class TableCauses {
  readonly #table: string;
  readonly #key: readonly string[];
  readonly #unknown: ReadonlyMap<string, readonly string[]>;
  readonly #parked: ReadonlySet<string>;
  /** Null: all rows. */
  readonly #dead: ReadonlySet<string> | null;
  readonly #lossy: ReadonlyMap<string, LossyColumn>;

  constructor(
    table: { readonly name: string; readonly key: readonly string[] },
    gaps: readonly TableGaps[],
    lossy: readonly LossyColumn[],
  ) {
    this.#table = table.name;
    this.#key = table.key;
    const own = gaps.find((found) => tableName(found.table) === table.name);
    const entries = own?.unknown ?? [];
    this.#unknown = new Map(entries.map(({ key, columns }) => [JSON.stringify(key), columns]));
    this.#parked = new Set((own?.parked ?? []).map((key) => JSON.stringify(key)));
    const dead = (own?.dead ?? []).map((key) => (key === null ? null : JSON.stringify(key)));
    this.#dead = dead.includes(null) ? null : new Set(dead.filter((key) => key !== null));
    this.#lossy = new Map(
      lossy.filter((one) => one.table === table.name).map((one) => [one.column, one]),
    );
  }

  /** The difference with its causes beside it. */
  name(difference: RowDifference): RowDifference {
    const id = JSON.stringify(this.#key.map((column) => difference.key[column] ?? ''));
    if (this.#dead === null || this.#dead.has(id)) return { ...difference, cause: 'dead-letter' };
    if (difference.kind === 'missing' && this.#parked.has(id)) {
      return { ...difference, cause: 'parked-row' };
    }
    if (difference.kind !== 'changed') return difference;
    const unknown = this.#unknown.get(id) ?? [];
    if (difference.columns.length === 0 && unknown.length > 0) {
      return { ...difference, cause: 'unknown-value' };
    }
    const columns = difference.columns.map((column): ColumnDifference => {
      if (unknown.includes(column.name)) return { ...column, cause: 'unknown-value', cure: FULL };
      const lossy = this.#lossy.get(column.name);
      if (lossy === undefined) return column;
      return { ...column, cause: 'lossy-setting', cure: `${lossy.setting}: ${lossy.cure}` };
    });
    return { ...difference, columns };
  }

  /** Why the table is not equal even if no row differs; null if nothing speaks against it. */
  doubt(): Reason | null {
    if (this.#dead === null || this.#dead.size > 0) {
      const rows = this.#dead === null ? 'all rows wait' : `${this.#dead.size} keys wait`;
      const message = `${rows} behind events that were set aside; see \`dead-letters list\``;
      return { code: 'rows-dead', message, table: this.#table };
    }
    if (this.#parked.size > 0) {
      const message = `${this.#parked.size} rows are parked: events left columns out; see \`status\``;
      return { code: 'rows-parked', message, table: this.#table };
    }
    if (this.#unknown.size === 0) return null;
    const columns = [...new Set([...this.#unknown.values()].flat())].sort().join(', ');
    const message = `values of ${columns} are unknown in ${this.#unknown.size} rows; ${FULL}`;
    return { code: 'values-unknown', message, table: this.#table };
  }
}
