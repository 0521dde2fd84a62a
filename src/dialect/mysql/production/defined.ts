/**
 * What `SHOW CREATE TABLE` and statements of production say of columns and keys. Pure. The servers
 * print one column or key a line, keywords in capitals, texts escaped by backslashes.
 */
import { escapePattern } from '../../../util/pattern.ts';
import { unescaped } from '../session/names.ts';

/** The definition of a column, without its name; null if the table has none such. */
export function columnDefinition(table: string, column: string): string | null {
  const head = `\`${column.replaceAll('`', '``')}\` `;
  const line = linesOf(table).find((one) => one.startsWith(head));
  return line === undefined ? null : line.slice(head.length);
}

/** `PRIMARY KEY (…)`; null if there is none. */
export function primaryKeyOf(table: string): string | null {
  return linesOf(table).find((line) => line.startsWith('PRIMARY KEY')) ?? null;
}

/** Indexes that begin with a column that the server numbers. */
export function indexesOn(table: string): readonly string[] {
  const lines = linesOf(table);
  const numbered = lines.find((line) => line.startsWith('`') && isNumbered(line));
  const name = numbered === undefined ? null : /^`(?:[^`]|``)+`/.exec(numbered)?.[0];
  if (name === null || name === undefined) return [];
  return lines.filter(
    (line) => /^(UNIQUE )?KEY /.test(line) && /` \((`(?:[^`]|``)+`)/.exec(line)?.[1] === name,
  );
}

function linesOf(table: string): readonly string[] {
  return table.split('\n').map((line) => line.trim().replace(/,$/, ''));
}

/** A text in quotes, a quoted name, or anything else. */
const PIECE = /'(?:[^'\\]|''|\\.)*'|`(?:[^`]|``)*`|[^'`]+/gs;

function outsideTexts(sql: string, change: (piece: string) => string): string {
  return (sql.match(PIECE) ?? [])
    .map((piece) => (/^['`]/.test(piece) ? piece : change(piece)))
    .join('');
}

/** The definition with NULL for NOT NULL. */
export function nullable(definition: string): string {
  return outsideTexts(definition, (piece) => piece.replace(/\bNOT NULL\b/, 'NULL'));
}

export function isNumbered(definition: string): boolean {
  return (definition.match(PIECE) ?? []).some(
    (piece) => !/^['`]/.test(piece) && piece.includes(' AUTO_INCREMENT'),
  );
}

const TYPE = /^\w+(?:\((?:'(?:[^'\\]|''|\\.)*'|[^')])*\))?(?: unsigned| zerofill| signed)*/s;
const FORM = /^(?: CHARACTER SET \w+)?(?: COLLATE \w+)?/;

/** The type with its character set, where the definition has one. */
export function typeOf(definition: string): string {
  const type = TYPE.exec(definition)?.[0] ?? '';
  return type + (FORM.exec(definition.slice(type.length))?.[0] ?? '');
}

/** Does the definition say its character set or collation, so that the table's do not count? */
export function hasForm(definition: string): boolean {
  const type = TYPE.exec(definition)?.[0] ?? '';
  return FORM.exec(definition.slice(type.length))?.[0] !== '';
}

export interface DefaultValue {
  readonly kind: 'literal' | 'computed';
  /** Of a literal: null for NULL, and for none. */
  readonly text: string | null;
}

const DEFAULT =
  / DEFAULT (?:(NULL)(?![\w(])|(b?'(?:[^'\\]|''|\\.)*'|[-+]?[\d.]+(?:e[-+]?\d+)?)(?=\s|$))?/s;

export function defaultOf(definition: string): DefaultValue {
  const found = DEFAULT.exec(definition.slice(typeOf(definition).length));
  if (found === null || found[1] !== undefined) return { kind: 'literal', text: null };
  const value = found[2];
  if (value === undefined) return { kind: 'computed', text: null };
  return { kind: 'literal', text: /^b?'/.test(value) ? unquoted(value) : value };
}

function unquoted(value: string): string {
  return unescaped(value.slice(value.indexOf("'") + 1, -1));
}

/** What may stand after DEFAULT and is no computation; texts are blanked. */
const LITERAL =
  /^\s*(?:null\b|true\b|false\b|[-+]?[.\d]|(?:[bxn]|_\w+\s)?\s*'|character\b|charset\b|collate\b|=)/i;

/**
 * Does a statement of production give the column a literal as its default, or none? False where that
 * cannot be told.
 */
export function setsLiteral(ddl: string, column: string): boolean {
  const blank = ddl
    .replaceAll(/\/\*(?!!)[\s\S]*?\*\/|(?:#|-- )[^\n]*/g, ' ')
    .replaceAll(/'(?:[^'\\]|''|\\.)*'|"(?:[^"\\]|""|\\.)*"/gs, (text) =>
      text.startsWith("'") ? "''" : text,
    );
  const quoted = `\`${column.replaceAll('`', '``')}\``;
  const name = `(?:${escapePattern(quoted)}|${escapePattern(column)}|"${escapePattern(column)}")`;
  const begin = new RegExp(`(?:^|[\\s(,])${name}\\s`, 'i').exec(blank);
  const own = begin === null ? blank : untilComma(blank.slice(begin.index + begin[0].length));
  return [...own.matchAll(/\bdefault\b/gi)].every(({ index }) =>
    LITERAL.test(own.slice(index + 'default'.length).replace(/^\s*"[^"]*"/, "''")),
  );
}

/** Up to the comma that ends it, or the parenthesis around it. */
function untilComma(sql: string): string {
  let depth = 0;
  for (let i = 0; i < sql.length; i += 1) {
    const c = sql[i];
    if (c === '(') depth += 1;
    else if (c === ')') depth -= 1;
    if (depth < 0 || (c === ',' && depth === 0)) return sql.slice(0, i);
  }
  return sql;
}
