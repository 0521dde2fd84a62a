/**
 * What names its own database in its text, made to name the copy of that database. Pure. A text is
 * refused (null) where it cannot be told for sure what a name stands for.
 */
import { escapePattern } from '../../../util/pattern.ts';
import { quote } from '../session/names.ts';

/** Why a text is refused. */
export const NOT_SURE = 'it cannot be told for sure what its text names';

export interface Move {
  readonly from: string;
  readonly to: string;
}

/** How a text is to be read: by the sql_mode that it was written under. */
interface Reading {
  /** A backslash escapes in texts. */
  readonly backslashes: boolean;
  /** Double quotes are around names, not texts. */
  readonly ansi: boolean;
}

type Kind = 'space' | 'comment' | 'executable' | 'text' | 'name' | 'other';

interface Token {
  readonly kind: Kind;
  readonly text: string;
  /** Of a name: without its quotes. */
  readonly name: string;
}

/** Of the server's own words, which quote every name and every text: of views, tables. */
const CANONICAL: Reading = { backslashes: true, ansi: false };

/**
 * A definition as the server prints it, in which a name that stands first and has a point behind it is a
 * database's, unless an alias is called like that. Texts are no names.
 */
export function moveDefinition(sql: string, move: Move): string | null {
  const { text, isSure } = qualified(tokensOf(sql, CANONICAL), move);
  return isSure(({ after }) => !after) ? text : null;
}

/**
 * The body of a routine, trigger or event, as somebody wrote it under `sqlMode`. Refused too where it
 * may hold the name in a text that is run.
 */
export function moveCode(sql: string, sqlMode: string, move: Move): string | null {
  const read = tokensOf(sql, readingOf(sqlMode));
  const says = new RegExp(`(?<![\\w$])${escapePattern(move.from)}(?![\\w$])`, 'i');
  const hidden = read.some(({ kind, text }) => kind === 'executable' && says.test(text));
  const runsTexts = read.some(
    ({ kind, name }) => kind === 'name' && /^(prepare|immediate|information_schema)$/i.test(name),
  );
  const inText = read.some(({ kind, text }) => kind === 'text' && says.test(text));
  if (hidden || (runsTexts && inText)) return null;
  const { text, isSure } = qualified(read, move);
  return isSure(() => true) ? text : null;
}

/** In lower case. */
export interface NamesInText {
  /** Those that stand alone, or behind the database's and a point: tables, routines, columns and words. */
  readonly names: ReadonlySet<string>;
  /** Of these, those behind CALL. */
  readonly procedures: ReadonlySet<string>;
  /** Of these, others before a parenthesis: functions, and tables of which columns are listed. */
  readonly called: ReadonlySet<string>;
  /** Those that stand before a point. */
  readonly qualifiers: ReadonlySet<string>;
  /** Those behind NEW or OLD and a point: columns of a trigger's row. */
  readonly ofRow: ReadonlySet<string>;
}

/** What a text of database `source` names. Null where that cannot be told for sure. */
export function namesIn(sql: string, sqlMode: string, source: string): NamesInText | null {
  if (moveCode(sql, sqlMode, { from: source, to: source }) === null) return null;
  const read = tokensOf(sql, readingOf(sqlMode));
  if (read.some(({ kind }) => kind === 'executable')) return null;
  const significant = read.filter(({ kind }) => kind !== 'space' && kind !== 'comment');
  const [names, called, procedures] = [new Set<string>(), new Set<string>(), new Set<string>()];
  const [qualifiers, ofRow] = [new Set<string>(), new Set<string>()];
  for (const [i, { kind, name }] of significant.entries()) {
    if (kind !== 'name') continue;
    const before = significant[i - 1]?.text === '.' ? significant[i - 2] : undefined;
    const isQualifier = significant[i + 1]?.text === '.';
    if (isQualifier && before === undefined) qualifiers.add(name.toLowerCase());
    if (/^(?:new|old)$/i.test(before?.name ?? '')) ofRow.add(name.toLowerCase());
    const isOfSource = before?.name.toLowerCase() === source.toLowerCase();
    if (isQualifier || (before !== undefined && !isOfSource)) continue;
    names.add(name.toLowerCase());
    const isCall = /^call$/i.test(significant[before === undefined ? i - 1 : i - 3]?.text ?? '');
    if (isCall) procedures.add(name.toLowerCase());
    else if (significant[i + 1]?.text === '(') called.add(name.toLowerCase());
  }
  return { names, called, procedures, qualifiers, ofRow };
}

function readingOf(sqlMode: string): Reading {
  const modes = new Set(sqlMode.split(','));
  return {
    backslashes: !modes.has('NO_BACKSLASH_ESCAPES'),
    ansi: modes.has('ANSI_QUOTES'),
  };
}

interface Other {
  /** It has a point before it. */
  readonly after: boolean;
}

/**
 * With each qualifier replaced. `isSure`: there is none, or no other name is called like the database,
 * of those that `counts` counts.
 */
function qualified(
  read: readonly Token[],
  { from, to }: Move,
): {
  readonly text: string;
  readonly isSure: (counts: (other: Other) => boolean) => boolean;
} {
  const isPoint = (token: Token | undefined): boolean => token?.text === '.';
  const significant = read.filter(({ kind }) => kind !== 'space' && kind !== 'comment');
  const places = new Map(significant.map((token, i) => [token, i]));
  let moved = 0;
  let inexact = false;
  const others: Other[] = [];
  const texts = read.map((token) => {
    const at = places.get(token);
    if (token.kind !== 'name' || at === undefined) return token.text;
    if (token.name.toLowerCase() !== from.toLowerCase()) return token.text;
    const after = isPoint(significant[at - 1]);
    if (after || !isPoint(significant[at + 1])) {
      others.push({ after });
      return token.text;
    }
    // Whether it means the same depends on the server.
    if (token.name !== from) inexact = true;
    moved += 1;
    return quote(to);
  });
  return {
    text: texts.join(''),
    isSure: (counts) => moved === 0 || (!inexact && !others.some(counts)),
  };
}

const SPACE = String.raw`\s+`;
const EXECUTABLE = String.raw`\/\*M?!.*?\*\/`;
const COMMENT = String.raw`\/\*.*?\*\/|#[^\n]*|--(?=\s|$)[^\n]*`;
const QUOTED_NAME = '`(?:[^`]|``)*`';
const WORD = String.raw`[\w$\u0080-\uffff]+`;

function tokensOf(sql: string, { backslashes, ansi }: Reading): readonly Token[] {
  const inside = backslashes ? String.raw`(?:[^Q\\]|QQ|\\.)*` : '(?:[^Q]|QQ)*';
  const single = `'${inside.replaceAll('Q', "'")}'`;
  const double = ansi ? '"(?:[^"]|"")*"' : `"${inside.replaceAll('Q', '"')}"`;
  const kinds = [
    `(?<space>${SPACE})`,
    `(?<executable>${EXECUTABLE})`,
    `(?<comment>${COMMENT})`,
    `(?<text>${ansi ? single : `${single}|${double}`})`,
    `(?<name>${ansi ? `${QUOTED_NAME}|${double}` : QUOTED_NAME}|${WORD})`,
    '(?<other>.)',
  ];
  return Array.from(sql.matchAll(new RegExp(kinds.join('|'), 'gsu')), (found) => {
    const [text] = found;
    const kind = (Object.entries(found.groups ?? {}).find(([, one]) => one !== undefined)?.[0] ??
      'other') as Kind;
    return { kind, text, name: unquoted(text) };
  });
}

function unquoted(text: string): string {
  const [quoteMark] = text;
  if (quoteMark !== '`' && quoteMark !== '"') return text;
  return text.slice(1, -1).replaceAll(quoteMark.repeat(2), quoteMark);
}
