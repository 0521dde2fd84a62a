/**
 * From what `SHOW CREATE` prints on production to what makes the same in the shadow. Pure. The
 * servers print one column, key or constraint a line, with names quoted and texts escaped.
 */
import { quote } from '../session/names.ts';

export interface Rewritten {
  readonly sql: string;
  /** What was left out or changed, for the report. */
  readonly remarks: readonly { readonly what: string; readonly why: string }[];
}

const FOREIGN_KEY =
  /^\s+CONSTRAINT (`(?:[^`]|``)+`) FOREIGN KEY .*? REFERENCES ((?:`(?:[^`]|``)+`\.)?`(?:[^`]|``)+`)/;
const ENGINE = /(\) ENGINE=)(\w+)/;
/** Where files lie is each server's own affair. */
const PLACES =
  / ?(?:\/\*!\d+ )?(?:DATA DIRECTORY|INDEX DIRECTORY|TABLESPACE|ENCRYPTION) ?=? ?(?:`(?:[^`]|``)+`|'[^']*')(?: STORAGE \w+)?(?: \*\/)?/g;

/**
 * A table's definition for the shadow. Foreign keys stay where `included` has the table they lead
 * to; every table is of InnoDB, for only there rows and position are one transaction.
 */
export function rewriteTable(
  definition: string,
  table: { readonly source: string; readonly name: string },
  included: ReadonlySet<string>,
): Rewritten {
  const remarks: { what: string; why: string }[] = [];
  const kept = definition.split('\n').filter((line) => {
    const found = FOREIGN_KEY.exec(line);
    if (found === null) return true;
    const target = unquoted(found[2] ?? '');
    const own = target.length === 1 || target[0] === table.source;
    if (own && included.has(target.at(-1) ?? '')) return true;
    remarks.push({
      what: `foreign key ${unquoted(found[1] ?? '').join('.')} of table ${table.source}.${table.name}`,
      why: `it leads to ${target.join('.')}, which is not followed`,
    });
    return false;
  });
  const end = kept.findIndex((line) => line.startsWith(')'));
  const last = kept[end - 1];
  // The line that became the last one before the parenthesis has lost its successor.
  if (last !== undefined) kept[end - 1] = last.replace(/,$/, '');
  const body = kept.slice(0, end).join('\n');
  let options = kept.slice(end).join('\n');
  const engine = ENGINE.exec(options)?.[2];
  if (engine !== undefined && engine.toLowerCase() !== 'innodb') {
    options = options.replace(ENGINE, '$1InnoDB');
    remarks.push({
      what: `engine ${engine} of table ${table.source}.${table.name}`,
      why: 'the shadow keeps rows and position in one transaction, which only InnoDB can',
    });
  }
  return { sql: `${body}\n${options.replaceAll(PLACES, '')}`, remarks };
}

function unquoted(name: string): readonly string[] {
  return Array.from(name.matchAll(/`((?:[^`]|``)+)`/g), ([, part = '']) =>
    part.replaceAll('``', '`'),
  );
}

export interface ViewFacts {
  readonly name: string;
  readonly columns: readonly string[];
  readonly definition: string;
  readonly checkOption: string;
  readonly security: string;
}

/** A view's definition for the shadow: without the name of the database it was made in. */
export function rewriteView(view: ViewFacts, source: string): string {
  return viewStatement({ ...view, definition: withoutDatabase(view.definition, source) });
}

/** Makes it. `definer`: quoted; who runs the statement if there is none. */
export function viewStatement(view: ViewFacts, definer: string | null = null): string {
  const check = view.checkOption === 'NONE' ? '' : ` WITH ${view.checkOption} CHECK OPTION`;
  const columns = view.columns.map((column) => quote(column)).join(', ');
  const by = definer === null ? '' : `DEFINER = ${definer} `;
  const head = `CREATE ${by}SQL SECURITY ${view.security} VIEW ${quote(view.name)} (${columns})`;
  return `${head} AS ${view.definition}${check}`;
}

/** A quoted name, a text, or anything else. */
const PIECE = /`(?:[^`]|``)*`\.?|'(?:[^'\\]|''|\\.)*'|"(?:[^"\\]|""|\\.)*"|[^`'"]+/gs;

/** `` `shop`.`orders`.`id` `` becomes `` `orders`.`id` ``; texts stay as they are. */
function withoutDatabase(sql: string, database: string): string {
  const prefix = `${quote(database)}.`;
  const pieces = sql.match(PIECE) ?? [];
  return pieces
    .filter((piece, i) => piece !== prefix || pieces[i - 1]?.endsWith('`.') === true)
    .join('');
}

/** Names that a definition quotes. */
export function quotedNames(sql: string): ReadonlySet<string> {
  const names = (sql.match(PIECE) ?? []).filter((piece) => piece.startsWith('`'));
  return new Set(names.flatMap((piece) => unquoted(piece)));
}

/** Every view after the views it reads; in a circle, which cannot be, as they come. */
export function viewsInOrder<View extends ViewFacts>(views: readonly View[]): readonly View[] {
  const byName = new Map(views.map((view) => [view.name, view]));
  const done = new Set<View>();
  const ordered: View[] = [];
  const visit = (view: View): void => {
    if (done.has(view)) return;
    done.add(view);
    for (const name of quotedNames(view.definition)) {
      const needed = byName.get(name);
      if (needed !== undefined) visit(needed);
    }
    ordered.push(view);
  };
  views.forEach(visit);
  return ordered;
}
