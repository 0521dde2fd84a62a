/** In which order rows are written, so that none is lost. Pure. */
import { tableName } from '../change/table-id.ts';
import type { TableSchema } from '../schema/table-schema.ts';

export type LinkedTable = Pick<TableSchema, 'id' | 'uniques' | 'foreignKeys'>;

/** By column; of a row that changes, at least of those of unique and foreign keys. */
export type Values = ReadonlyMap<string, string | null>;

/** What a statement does to a row. Null: there is none before, or after. */
export interface RowMove {
  readonly table: string;
  readonly before: Values | null;
  readonly after: Values | null;
}

/**
 * Why one statement is before another, from what must hold to what may be given up:
 * - `away`: a row refers to one that goes; if it did so still, it could go with it, without a word
 * - `parent`: a row refers to one that comes
 * - `value`: a row takes a unique value that another gives up
 */
const REASONS = ['away', 'parent', 'value'] as const;
type Reason = (typeof REASONS)[number];

/** From statement to statement, by their places in the list. */
type Edge = readonly [before: number, after: number];

/**
 * Rows that come and change, parents first, and then those that go, children first; but where a row takes a
 * unique value of one that goes, or changes, and nothing refers to that one by then, this one is before it.
 * Where rows wait for each other in a circle, the servers refuse a value that is still taken, or a row that
 * refers to none yet: what goes still goes after all that refers to it.
 */
export function safeOrder<Row extends RowMove>(
  rows: readonly Row[],
  tables: ReadonlyMap<string, LinkedTable>,
): readonly Row[] {
  const places = new Map(parentsFirst(tables).map((label, i) => [label, i]));
  const place = ({ table }: Row): number => places.get(table) ?? 0;
  const stays = rows.filter(({ after }) => after !== null);
  const goes = rows.filter(({ after }) => after === null);
  // Rows of one table that change are before those that come.
  const ranked = [
    ...stays.toSorted(
      (a, b) => place(a) - place(b) || Number(a.before === null) - Number(b.before === null),
    ),
    ...goes.toSorted((a, b) => place(b) - place(a)),
  ];
  const found = findEdges(ranked, tables);
  let edges: readonly Edge[] = [];
  for (const reason of REASONS) {
    const more = [...edges, ...found[reason]];
    const circles = inCircles(more);
    edges =
      reason === 'away'
        ? more
        : more.filter(
            (edge, i) => i < edges.length || !circles.has(edge[0]) || !circles.has(edge[1]),
          );
  }
  return inOrder(ranked.length, edges).flatMap((i) => ranked[i] ?? []);
}

function findEdges(
  rows: readonly RowMove[],
  tables: ReadonlyMap<string, LinkedTable>,
): Readonly<Record<Reason, readonly Edge[]>> {
  const lookup = new Lookup(rows);
  const edges: Record<Reason, Edge[]> = { away: [], parent: [], value: [] };
  const put = (reason: Reason, before: number, after: number): void => {
    if (before !== after) edges[reason].push([before, after]);
  };
  for (const [i, row] of rows.entries()) {
    const table = tables.get(row.table);
    for (const { columns, references, referencedColumns } of table?.foreignKeys ?? []) {
      const [was, is] = [tuple(row.before, columns), tuple(row.after, columns)];
      if (was === is) continue;
      const to = { table: tableName(references), columns: referencedColumns };
      for (const parent of lookup.changing(to, 'after', is)) put('parent', parent, i);
      for (const parent of lookup.changing(to, 'before', was)) {
        // One that goes on referring to a row whose value changes, changes with it or after it.
        const follows = is !== null && tuple(rows[parent]?.after ?? null, to.columns) === is;
        if (!follows) put('away', i, parent);
      }
    }
    for (const { columns } of table?.uniques ?? []) {
      const is = tuple(row.after, columns);
      if (is === tuple(row.before, columns)) continue;
      const of = { table: row.table, columns };
      for (const other of lookup.changing(of, 'before', is)) put('value', other, i);
    }
  }
  return edges;
}

/** Finds rows by values that they give up, or come to have. */
class Lookup {
  readonly #byTable: ReadonlyMap<string, readonly (readonly [number, RowMove])[]>;
  readonly #indexes = new Map<string, ReadonlyMap<string, readonly number[]>>();

  constructor(rows: readonly RowMove[]) {
    this.#byTable = Map.groupBy(rows.entries(), ([, { table }]) => table);
  }

  changing(
    of: { readonly table: string; readonly columns: readonly string[] },
    side: 'before' | 'after',
    value: string | null,
  ): readonly number[] {
    if (value === null) return [];
    const name = JSON.stringify([of.table, side, ...of.columns]);
    const index = this.#indexes.get(name) ?? this.#index(of, side);
    this.#indexes.set(name, index);
    return index.get(value) ?? [];
  }

  #index(
    { table, columns }: { readonly table: string; readonly columns: readonly string[] },
    side: 'before' | 'after',
  ): ReadonlyMap<string, readonly number[]> {
    const index = new Map<string, number[]>();
    for (const [i, row] of this.#byTable.get(table) ?? []) {
      const value = tuple(row[side], columns);
      if (value === null || value === tuple(row[side === 'before' ? 'after' : 'before'], columns)) {
        continue;
      }
      const places = index.get(value);
      if (places === undefined) index.set(value, [i]);
      else places.push(i);
    }
    return index;
  }
}

/** Null where a value is NULL, or not known: it then meets no other. */
function tuple(values: Values | null, columns: readonly string[]): string | null {
  if (values === null || columns.length === 0) return null;
  const texts = columns.map((name) => values.get(name) ?? null);
  return texts.includes(null) ? null : JSON.stringify(texts.map((text) => folded(text ?? '')));
}

/** As collations may have it: what is one to the widest of them. */
function folded(text: string): string {
  if (/^[\x20-\x7e]*$/.test(text)) return text.toLowerCase().trimEnd();
  return text.normalize('NFKD').replaceAll(/\p{M}/gu, '').toLowerCase().trimEnd();
}

/** What is on a circle, or between two. */
function inCircles(edges: readonly Edge[]): ReadonlySet<number> {
  const behind = beyondReach(edges);
  const kept = edges.filter(([before, after]) => behind.has(before) && behind.has(after));
  return beyondReach(kept.map(([before, after]) => [after, before]));
}

/** What is left when all that waits for nothing goes, again and again. */
function beyondReach(edges: readonly Edge[]): ReadonlySet<number> {
  const waits = new Map<number, number>();
  const next = new Map<number, number[]>();
  for (const [before, after] of edges) {
    waits.set(after, (waits.get(after) ?? 0) + 1);
    waits.set(before, waits.get(before) ?? 0);
    const of = next.get(before);
    if (of === undefined) next.set(before, [after]);
    else of.push(after);
  }
  const free = [...waits].flatMap(([place, count]) => (count === 0 ? [place] : []));
  for (let place = free.pop(); place !== undefined; place = free.pop()) {
    waits.delete(place);
    for (const after of next.get(place) ?? []) {
      const left = (waits.get(after) ?? 0) - 1;
      waits.set(after, left);
      if (left === 0) free.push(after);
    }
  }
  return new Set(waits.keys());
}

/** The places in their order, but what each of them waits for just before it. */
function inOrder(count: number, edges: readonly Edge[]): readonly number[] {
  const waitsFor = Map.groupBy(edges, ([, after]) => after);
  const order: number[] = [];
  const seen = new Set<number>();
  for (let root = 0; root < count; root += 1) {
    if (seen.has(root)) continue;
    seen.add(root);
    // Chains may be as long as the list.
    const open = [{ place: root, rest: sorted(waitsFor.get(root)) }];
    for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
      const next = top.rest.pop();
      if (next === undefined) {
        order.push(top.place);
        open.pop();
      } else if (!seen.has(next)) {
        seen.add(next);
        open.push({ place: next, rest: sorted(waitsFor.get(next)) });
      }
    }
  }
  return order;
}

/** To be taken from the end. */
function sorted(edges: readonly Edge[] = []): number[] {
  return edges.map(([before]) => before).toSorted((a, b) => b - a);
}

function parentsFirst(tables: ReadonlyMap<string, LinkedTable>): readonly string[] {
  const done = new Set<string>();
  const visit = (label: string, above: ReadonlySet<string>): void => {
    if (done.has(label) || above.has(label)) return;
    const below = new Set(above).add(label);
    for (const { references } of tables.get(label)?.foreignKeys ?? []) {
      visit(tableName(references), below);
    }
    done.add(label);
  };
  for (const label of [...tables.keys()].toSorted()) visit(label, new Set());
  return [...done];
}
