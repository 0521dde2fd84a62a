/** Which table a change is of, by the name that it was sent under. */
import type { SourcePosition } from '../change/position.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import type { FormerName, SchemaCatalogue } from '../schema/table-schema.ts';
import type { Connector } from './connectors/connector.ts';

/**
 * Is what stands here of before `until`? Null where the places do not tell. On PostgreSQL `until` is a
 * place in the log itself, and not in the order of commits.
 */
export function isBefore(
  connector: Connector,
  place: SourcePosition,
  until: SourcePosition,
): boolean | null {
  if ('lsn' in place && 'lsn' in until) {
    return place.lsn === null || until.lsn === null ? null : place.lsn < until.lsn;
  }
  const order = connector.compare(place, until);
  return order === 'incomparable' ? null : order === 'before';
}

/** The names that tables of one catalogue had. */
export class TableNames {
  readonly #connector: Connector;
  readonly #former = new Map<string, Former[]>();
  readonly #since = new Map<string, SourcePosition>();

  constructor(catalogue: SchemaCatalogue, connector: Connector) {
    this.#connector = connector;
    for (const [label, { id, names = [], since }] of catalogue) {
      if (since !== undefined) this.#since.set(label, since);
      for (const name of names) {
        const before = tableName(name.table);
        const known = this.#former.get(before);
        if (known === undefined) this.#former.set(before, [{ ...name, now: id }]);
        else known.push({ ...name, now: id });
      }
    }
  }

  /**
   * The name now of the table that was sent as `table`: the same object, mostly; null for one that is
   * not here, while another one has the name. `isOld`: whether a change whose place tells nothing is of
   * before the name was given up.
   */
  of(table: TableId, place: SourcePosition, isOld: (label: string) => boolean): TableId | null {
    if (this.#former.size === 0 && this.#since.size === 0) return table;
    const label = tableName(table);
    const named = this.#formerly(label, place);
    if (named !== null) return named.now;
    const last = this.#former.get(label)?.at(-1);
    if (last !== undefined && isBefore(this.#connector, place, last.until) === null) {
      return isOld(label) ? last.now : table;
    }
    const since = this.#since.get(label);
    return since !== undefined && isBefore(this.#connector, place, since) === true ? null : table;
  }

  /** Was it sent before the table gave this name up, if only for a while? */
  isFormer(table: TableId, place: SourcePosition): boolean {
    if (this.#former.size === 0) return false;
    return this.#formerly(tableName(table), place) !== null;
  }

  #formerly(label: string, place: SourcePosition): Former | null {
    for (const name of this.#former.get(label) ?? []) {
      const { after, until } = name;
      if (isBefore(this.#connector, place, until) !== true) continue;
      if (after === null || isBefore(this.#connector, place, after) === false) return name;
    }
    return null;
  }
}

type Former = FormerName & { readonly now: TableId };
