/**
 * What foreign keys do to other tables when a row is deleted or its key changes: no trigger fires there.
 * So before such a write the rows it will reach are journaled, those that are reached through others
 * too. More may be journaled than are reached, never fewer.
 *
 * The rows are read with locks: in READ COMMITTED a read without them may be older than the write, and who
 * applies could write a row below one that is about to go. Shared ones, for a trigger may take no other
 * on tables of its statement; who applies takes one that they keep off (apply-captured.ts). A row is
 * locked before those below it are looked for.
 */
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { KeyReference } from '../catalogue/catalogue.ts';
import { quote } from '../session/names.ts';
import { isSelf, rowItself, type Edge } from './edges.ts';
import { carried, type Happening } from './happening.ts';
import { sameImage } from './images.ts';
import { absentColumns, imageColumns, KEEPING, TRACE, type CapturedTable } from './journal.ts';

/** Rows of a table that are reached, as the part of a WITH that selects them. */
interface Reached {
  readonly table: CapturedTable;
  readonly happening: Happening;
  readonly name: string;
  readonly with: readonly string[];
}

/** What a trigger before DELETE does; null if no row of another table is reached. */
export function beforeDelete(
  table: CapturedTable,
  edges: readonly Edge[],
  unless: string,
): string | null {
  const happening: Happening = { kind: 'deleted' };
  const acts = new Walk(edges).from(table, happening, [stateOf(table, happening)]);
  return acts.length === 0 ? null : `IF ${unless} THEN ${acts.join(';\n')}; END IF`;
}

/** The same before UPDATE. */
export function beforeUpdate(
  table: CapturedTable,
  edges: readonly Edge[],
  unless: string,
): string | null {
  const columns = table.columns.filter(({ schema }) =>
    edges.some(
      ({ parent, reference }) =>
        parent.label === table.label && reference.referencedColumns.includes(schema.name),
    ),
  );
  if (columns.length === 0) return null;
  const values = new Map(columns.map(({ schema, name }) => [schema.name, `NEW.${name}`]));
  const happening: Happening = { kind: 'updated', values };
  const acts = new Walk(edges).from(table, happening, [stateOf(table, happening)]);
  if (acts.length === 0) return null;
  return `IF ${unless} AND NOT ${sameImage(columns, 'OLD', 'NEW')} THEN
    ${acts.join(';\n')}; END IF`;
}

class Walk {
  readonly #edges: readonly Edge[];

  constructor(edges: readonly Edge[]) {
    this.#edges = edges;
  }

  /** Statements for all that is reached from one row; `states`: what was met on the way. */
  from(
    table: CapturedTable,
    happening: Happening,
    states: readonly string[],
    rows: Reached | null = null,
  ): readonly string[] {
    return this.#edges.flatMap((edge) => {
      if (edge.parent.label !== table.label) return [];
      const next = carried(edge.reference, happening);
      if (next === null) return [];
      const state = stateOf(edge.child, next);
      // Rows of a table that are deleted with others of it are reached with these.
      if (rows !== null && isSelf(edge) && state === states.at(-1)) return [];
      if (states.includes(state) && !(isSelf(edge) && next.kind === 'deleted')) {
        throw circle(edge.child);
      }
      const reached = this.#reach(edge, next, rows);
      // Those on the way first: nothing comes below them when they are locked.
      return [...entries(reached), ...this.from(edge.child, next, [...states, state], reached)];
    });
  }

  #reach(edge: Edge, happening: Happening, rows: Reached | null): Reached {
    const { child, reference } = edge;
    const name = `r${String((rows?.with.length ?? 0) + 1)}`;
    const list = this.#needed(child)
      .map((column) => `x.${quote(column)}`)
      .join(', ');
    const beside = (name: string, { reference: by, childAccess: access }: Edge): string =>
      `SELECT ${list} FROM ${name} y STRAIGHT_JOIN ${child.relation} x ${access.hint}
        ON ${matches(by, 'y')} ${rowItself(child, 'x', access)} ${LOCKED}`;
    const { childAccess } = edge;
    const first =
      rows === null
        ? `SELECT ${list} FROM ${child.relation} x ${childAccess.hint}
            ${rowItself(child, 'x', childAccess)} WHERE ${matches(reference, 'OLD')} ${LOCKED}`
        : beside(rows.name, edge);
    const again =
      happening.kind === 'updated'
        ? []
        : this.#edges
            .filter((one) => isSelf(one) && one.child.label === child.label)
            .filter((one) => one.reference.onDelete === 'CASCADE')
            .map((one) => beside(name, one));
    const part = `${name} AS (${[first, ...again].map((one) => `(${one})`).join(' UNION ')})`;
    return { table: child, happening, name, with: [...(rows?.with ?? []), part] };
  }

  /** Its key, and what leads on from it. */
  #needed(table: CapturedTable): readonly string[] {
    const leading = this.#edges
      .filter(({ parent }) => parent.label === table.label)
      .flatMap(({ reference }) => reference.referencedColumns);
    return [...new Set([...table.schema.key, ...leading])];
  }
}

const LOCKED = 'LOCK IN SHARE MODE';

function matches({ columns, referencedColumns }: KeyReference, alias: string): string {
  return columns
    .map((column, i) => `x.${quote(column)} = ${alias}.${quote(referencedColumns[i] ?? '')}`)
    .join(' AND ');
}

function stateOf({ label }: CapturedTable, happening: Happening): string {
  if (happening.kind === 'deleted') return JSON.stringify([label]);
  return JSON.stringify([label, [...happening.values.keys()].toSorted()]);
}

/** With production's image of each, and that production has none under the key they get. */
function entries({ table, happening, name, with: parts }: Reached): readonly string[] {
  if (table.key.length === 0) return [];
  const statement = (columns: string, values: readonly string[], where = ''): string =>
    `INSERT INTO ${table.journal} (${columns})
      WITH RECURSIVE ${parts.join(', ')}
      SELECT ${values.join(', ')} FROM ${name} STRAIGHT_JOIN ${table.relation} t ${table.keyHint}
        ON ${table.key.map((key) => `t.${key.name} = ${name}.${key.name}`).join(' AND ')} ${where} ${LOCKED}
      ${KEEPING}`;
  const images = statement(imageColumns(table), [
    ...table.columns.map((column) => `t.${column.name}`),
    ...['1', TRACE],
  ]);
  const { values } = happening.kind === 'updated' ? happening : { values: null };
  if (values === null || !table.schema.key.some((key) => values.has(key))) return [images];
  const moved = table.key.map((key) => values.get(key.schema.name) ?? `t.${key.name}`);
  // Where a row has that key the write is refused, or left out (IGNORE), and the row stays as it is.
  const is = table.key.map(({ name: key }, i) => `z.${key} = ${moved[i] ?? ''}`).join(' AND ');
  const isFree = `WHERE NOT EXISTS (SELECT 1 FROM ${table.relation} z ${table.keyHint}
    WHERE ${is} ${LOCKED})`;
  return [images, statement(absentColumns(table), [...moved, '0', TRACE], isFree)];
}

function circle({ label }: CapturedTable): UnderstudyError {
  const what =
    'foreign keys lead back to a table through others, which writes cannot be captured of';
  return new UnderstudyError('SCHEMA_FAILED', what, {
    table: label,
    detail: 'let one of them be without ON DELETE and ON UPDATE in the trunk',
  });
}
