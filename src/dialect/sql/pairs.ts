/**
 * Pairs: a row of the candidate's that production does not have, and a row of production's that is the same
 * in the columns of `pairOn`, where each is the only one for the other. They are asked for and not noted: a pair
 * is one for as long as these columns say so, and nothing of it can be out of date.
 *
 * Columns that refer to other rows by a foreign key are the same, too, where they refer to the two of a
 * pair: as part of `pairOn` (a line of an order), and as columns that are compared. Tables are taken parents
 * first. Production's row is one that the candidate sees, or one that is kept out; not one that it deleted,
 * and none that waits to be written (dialect/waiting.ts) and has no entry: it is not seen as production has it.
 */
import { tableName } from '../../change/table-id.ts';
import { UnderstudyError } from '../../errors/understudy-error.ts';
import type { PairsOn } from '../../overlay/pairing.ts';
import type { TableSchema } from '../../schema/table-schema.ts';
import { originOf, type Reshapes } from './reshaped.ts';

interface PairTable {
  readonly label: string;
  readonly schema: TableSchema;
  /** Quoted and qualified: entries. */
  readonly journal: string | null;
}

/** How an engine writes it. */
export interface PairWriting<Table> {
  /** After AS, of a part of a WITH that is asked more than once. */
  readonly materialized: string;
  column(name: string): string;
  /** The operator by which two values of a column are the same. */
  equals(table: Table, column: string): string;
  /** The table in a FROM, to be found by its key where `by` says so. */
  rows(table: Table, alias: string, by: 'key' | 'any'): string;
  /** Production has the row of this entry. */
  isPresent(entry: string): string;
  /** The row of this entry is production's, and kept out; `row` is what the candidate sees of it. */
  isBlocked(entry: string, row: string): string;
  /** Where changes of keys wait, in a FROM; null where none do. */
  waiting(table: Table): string | null;
}

/** A foreign key to a table that has pairs, by its key. */
interface Through {
  readonly parent: string;
  readonly columns: readonly string[];
  /** Numbers of the parent's key columns that these refer to, from 1. */
  readonly numbers: readonly number[];
}

/** Production's row, `j` or `v`, and the candidate's, `t`, have the same in a column: a condition. */
export type SameIn = (column: string, production: 'j' | 'v') => string;

interface Plan<Table> {
  readonly table: Table;
  readonly name: string;
  readonly on: readonly string[];
}

/**
 * The columns of `pairOn` as the candidate's table has them; empty where it lacks one, or production's does.
 * CONFIG_INVALID if production's lacks one that a rule for this very table names.
 */
export function pairColumns(
  schema: TableSchema,
  { tables }: Pick<Reshapes, 'tables'>,
  pairsOn: PairsOn,
): readonly string[] {
  const { id, reshaped } = originOf(schema, tables);
  const rule = pairsOn(id);
  if (rule === null) return [];
  const named = rule.columns;
  const theirs = reshaped?.schema ?? schema;
  const missing = named.find((name) => !theirs.columns.some((column) => column.name === name));
  if (missing !== undefined) {
    if (!rule.isExact) return [];
    const what = 'pairOn names a column that the table does not have';
    throw new UnderstudyError('CONFIG_INVALID', what, { table: tableName(id), column: missing });
  }
  const now = named.flatMap((name) =>
    reshaped === null ? [name] : (reshaped.columns.get(name) ?? []),
  );
  return now.length === named.length ? now : [];
}

/** Pairs of some captured tables, as pieces of statements. Without a rule all pieces are empty. */
export class Pairs<Table extends PairTable> {
  readonly #tables: ReadonlyMap<string, Table>;
  readonly #writing: PairWriting<Table>;
  /** Parents first. */
  readonly #plans = new Map<string, Plan<Table>>();

  constructor(
    tables: readonly Table[],
    on: (table: Table) => readonly string[],
    writing: PairWriting<Table>,
  ) {
    this.#tables = new Map(tables.map((table) => [table.label, table]));
    this.#writing = writing;
    const ruled = tables.flatMap((table) => {
      const columns = on(table);
      return columns.length === 0 || table.journal === null
        ? []
        : [[table.label, columns] as const];
    });
    const rules = new Map(ruled);
    const visit = (label: string, below: ReadonlySet<string>): void => {
      const [table, columns] = [this.#tables.get(label), rules.get(label)];
      if (table === undefined || columns === undefined) return;
      if (below.has(label) || this.#plans.has(label)) return;
      for (const { columns: referring, references } of table.schema.foreignKeys) {
        if (!referring.some((column) => columns.includes(column))) continue;
        visit(tableName(references), new Set([...below, label]));
      }
      const name = `understudy_pair${String(this.#plans.size + 1)}`;
      this.#plans.set(label, { table, name, on: columns });
    };
    for (const [label] of ruled) visit(label, new Set());
  }

  /** Rows of this table may be of a pair. */
  has({ label }: Table): boolean {
    return this.#plans.has(label);
  }

  /** The table of pairs, with columns c1, … and p1, …: the keys of the candidate's row and of production's. */
  name({ label }: Table): string {
    const plan = this.#plans.get(label);
    if (plan === undefined) throw new Error('only tables with a rule have pairs');
    return plan.name;
  }

  /** `WITH …`: goes before a statement that has other pieces for this table. */
  with(table: Table): string {
    const needed = new Set<string>();
    const need = (label: string): void => {
      const one = this.#tables.get(label);
      if (one === undefined || needed.has(label)) return;
      needed.add(label);
      for (const { parent } of this.#through(one)) need(parent);
    };
    need(table.label);
    const parts = [...this.#plans].flatMap(([label, plan]) =>
      needed.has(label)
        ? [`${plan.name} AS ${this.#writing.materialized} (${this.#pairs(plan)})`]
        : [],
    );
    return parts.length === 0 ? '' : `WITH ${parts.join(', ')} `;
  }

  /** The entry is of one side's row of a pair. */
  isOf(side: 'candidate' | 'production', table: Table, entry: string): string {
    const plan = this.#plans.get(table.label);
    if (plan === undefined) return 'FALSE';
    const prefix = side === 'candidate' ? 'c' : 'p';
    return this.#isIn(
      plan.name,
      table.schema.key.map((name, i) => ({
        ...{ is: table.label, name: `${prefix}${String(i + 1)}`, value: this.#at(entry, name) },
      })),
    );
  }

  /** There is a pair with these values. `is`: whose key the named column is of. */
  #isIn(
    pairs: string,
    values: readonly { readonly is: string; readonly name: string; readonly value: string }[],
  ): string {
    const same = values.map(({ is, name, value }) => this.#isReferred(is, `q.${name}`, value));
    return `EXISTS (SELECT 1 FROM ${pairs} q WHERE ${same.join(' AND ')})`;
  }

  /** The entry is not of production's row of a pair, kept out by the other: stands alone, without `with`. */
  isNoTwin(table: Table, entry: string, isBlocked: string): string {
    const plan = this.#plans.get(table.label);
    if (plan === undefined) return 'TRUE';
    const keys = table.schema.key.map((name) => this.#at(entry, name));
    const numbers = keys.map((_, i) => `p${String(i + 1)}`);
    return `(NOT ${isBlocked} OR (${keys.join(', ')}) NOT IN (${this.with(table)}SELECT ${numbers.join(', ')} FROM ${plan.name}))`;
  }

  /** The key of `alias` is that of a pair; `of`: `q.c` or `q.p`. */
  keyIs(table: Table, of: string, alias: string): string {
    return table.schema.key
      .map((name, i) => this.#is(table, name, `${of}${String(i + 1)}`, this.#at(alias, name)))
      .join(' AND ');
  }

  /** Production's row and the candidate's refer to the two of a pair by this column; null: no column does. */
  refersTo(table: Table, column: string, production: string, candidate: string): string | null {
    const by = this.#through(table).filter(({ columns }) => columns.includes(column));
    if (by.length === 0) return null;
    const each = by.map(({ parent, columns, numbers }) => {
      const values = columns.flatMap((name, i) => [
        { is: parent, name: `c${String(numbers[i])}`, value: this.#at(candidate, name) },
        { is: parent, name: `p${String(numbers[i])}`, value: this.#at(production, name) },
      ]);
      return this.#isIn(this.#nameOf(parent), values);
    });
    return `(${each.join(' OR ')})`;
  }

  /** What a foreign key's columns of `alias` refer to is production's row of a pair; null if it has none. */
  refersToTwin(table: Table, referring: readonly string[], alias: string): string | null {
    const found = this.#through(table).find(
      ({ columns }) => columns.join('\0') === referring.join('\0'),
    );
    if (found === undefined) return null;
    const values = found.columns.map((name, i) => ({
      ...{ is: found.parent, name: `p${String(found.numbers[i])}`, value: this.#at(alias, name) },
    }));
    return this.#isIn(this.#nameOf(found.parent), values);
  }

  /**
   * What the candidate did to a row, by `kind` (see DifferenceKind, and `equal`) of entry `j` and row `t`: each
   * row of a pair is a `twin`, of which `sides` tells; one that differs by what it refers to through pairs alone
   * is `paired`. `same`: the two sides have the same in a column.
   */
  kindOf(
    table: Table,
    kind: string,
    { columns, same }: { readonly columns: readonly string[]; readonly same: SameIn },
  ): string {
    if (this.with(table) === '') return kind;
    const all = columns.map((name) => this.sameIn(table, name, same, 'j')).join(' AND ');
    const or = (kind: string, is: string, otherwise: string): string =>
      `CASE WHEN ${is} THEN '${kind}' ELSE '${otherwise}' END`;
    return `CASE ${kind}
      WHEN 'blocked' THEN ${or('twin', this.isOf('production', table, 'j'), 'blocked')}
      WHEN 'insert' THEN ${or('twin', this.isOf('candidate', table, 'j'), 'insert')}
      WHEN 'update' THEN ${or('paired', all, 'update')}
      WHEN 'delete' THEN 'delete' ELSE 'equal' END`;
  }

  /** As `same` has it of production's row, `production`, and the candidate's, `t`; or by what they refer to. */
  sameIn(table: Table, column: string, same: SameIn, production: 'j' | 'v'): string {
    const is = same(column, production);
    const through = this.refersTo(table, column, production, 't');
    return through === null ? is : `(${is} OR ${through})`;
  }

  /** By column, a condition that it differs; of a pair's columns (`v`) those of the key do not. */
  differing(
    table: Table,
    { columns, same }: { readonly columns: readonly string[]; readonly same: SameIn },
    production: 'j' | 'v',
  ): readonly string[] {
    const key = new Set(table.schema.key);
    return columns.map((name) =>
      production === 'v' && key.has(name)
        ? 'FALSE'
        : `NOT (${this.sameIn(table, name, same, production)})`,
    );
  }

  /**
   * The pairs of a table: selects `what` of the candidate's entry `j` and row `t`, and production's row `v`,
   * where `where` holds.
   */
  sides(table: Table, what: string, where = 'TRUE'): string {
    const { isPresent, rows } = this.#writing;
    const from = `FROM ${this.name(table)} q
      JOIN ${table.journal ?? ''} j ON ${this.keyIs(table, 'q.c', 'j')}
      JOIN ${rows(table, 't', 'key')} ON ${this.keyIs(table, 'q.c', 't')}`;
    return `SELECT ${what} ${from}
        JOIN ${table.journal ?? ''} v ON ${this.keyIs(table, 'q.p', 'v')}
        WHERE ${isPresent('v')} AND ${where}
      UNION ALL SELECT ${what} ${from}
        JOIN ${rows(table, 'v', 'key')} ON ${this.keyIs(table, 'q.p', 'v')}
        WHERE NOT EXISTS (SELECT 1 FROM ${table.journal ?? ''} n WHERE ${this.keyIs(table, 'q.p', 'n')})
          AND ${where}`;
  }

  #nameOf(label: string): string {
    return this.#plans.get(label)?.name ?? '';
  }

  #at(alias: string, column: string): string {
    return `${alias}.${this.#writing.column(column)}`;
  }

  #is(table: Table, column: string, left: string, right: string): string {
    return `${left} ${this.#writing.equals(table, column)} ${right}`;
  }

  /** By the column of the parent's key that is numbered in `left`. */
  #isReferred(parent: string, left: string, right: string): string {
    const table = this.#tables.get(parent);
    const name = table?.schema.key[Number(/\d+$/.exec(left)?.[0] ?? 0) - 1];
    if (table === undefined || name === undefined) throw new Error('a plan has its table');
    return this.#is(table, name, left, right);
  }

  #through({ schema }: Table): readonly Through[] {
    return schema.foreignKeys.flatMap(({ columns, references, referencedColumns }) => {
      const parent = tableName(references);
      const key = this.#plans.get(parent)?.table.schema.key;
      const numbers = referencedColumns.map((name) => (key?.indexOf(name) ?? -1) + 1);
      return numbers.includes(0) ? [] : [{ parent, columns, numbers }];
    });
  }

  #pairs({ table, on }: Plan<Table>): string {
    const { isPresent, isBlocked, rows } = this.#writing;
    const { label, journal, schema } = table;
    const order = [...this.#plans.keys()];
    // Those that are pairs already when this table's are looked for.
    const by = this.#through(table).filter(
      ({ parent, columns }) =>
        order.indexOf(parent) < order.indexOf(label) && columns.some((name) => on.includes(name)),
    );
    const joins = by.map(({ parent, columns, numbers }, i) => {
      const alias = `f${String(i)}`;
      const same = columns.map((name, k) =>
        this.#isReferred(parent, `${alias}.c${String(numbers[k])}`, this.#at('c', name)),
      );
      return `LEFT JOIN ${this.#nameOf(parent)} ${alias} ON ${same.join(' AND ')}`;
    });
    const wanted = (name: string): string => {
      const found = by.findIndex(({ columns }) => columns.includes(name));
      const own = this.#at('c', name);
      const through = by[found];
      if (through === undefined) return own;
      const number = String(through.numbers[through.columns.indexOf(name)]);
      return `COALESCE(f${String(found)}.p${number}, ${own})`;
    };
    const matches = on
      .map((name) => this.#is(table, name, this.#at('p', name), wanted(name)))
      .join(' AND ');
    const keys = (['c', 'p'] as const).flatMap((side) =>
      schema.key.map((name, i) => `${this.#at(side, name)} AS ${side}${String(i + 1)}`),
    );
    const sameKey = (left: string, right: string): string =>
      schema.key
        .map((name) => this.#is(table, name, this.#at(left, name), this.#at(right, name)))
        .join(' AND ');
    const ours = `SELECT ${keys.join(', ')} FROM ${journal ?? ''} e
      JOIN ${rows(table, 'c', 'key')} ON ${sameKey('c', 'e')} ${joins.join(' ')}`;
    const first = schema.key[0] ?? '';
    const kept = `${ours} JOIN ${journal ?? ''} p ON ${matches}
      LEFT JOIN ${rows(table, 'v', 'key')} ON ${sameKey('v', 'p')}
      WHERE NOT ${isPresent('e')} AND ${isPresent('p')}
        AND (${isBlocked('p', 'v')} OR ${this.#at('v', first)} IS NOT NULL)`;
    const waiting = this.#writing.waiting(table);
    const waits =
      waiting === null
        ? ''
        : `AND NOT EXISTS (SELECT 1 FROM ${waiting} w WHERE ${sameKey('w', 'p')})`;
    const seen = `${ours} JOIN ${rows(table, 'p', 'any')} ON ${matches}
      WHERE NOT ${isPresent('e')}
        AND NOT EXISTS (SELECT 1 FROM ${journal ?? ''} n WHERE ${sameKey('n', 'p')}) ${waits}`;
    const numbered = (side: string): readonly string[] =>
      schema.key.map((_, i) => `${side}${String(i + 1)}`);
    const alone = (side: string): string =>
      `COUNT(*) OVER (PARTITION BY ${numbered(side).join(', ')})`;
    return `SELECT ${[...numbered('c'), ...numbered('p')].join(', ')}
      FROM (SELECT m.*, ${alone('c')} AS theirs, ${alone('p')} AS ours
        FROM (${kept} UNION ALL ${seen}) m) n WHERE n.theirs = 1 AND n.ours = 1`;
  }
}
