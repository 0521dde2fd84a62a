import { UnderstudyError } from '../errors/understudy-error.ts';

export interface SqlStatement {
  /** As in the file, without the semicolon and what stands around it. */
  readonly sql: string;
  /** Without comments, and with quoted text emptied: safe to look for words in. */
  readonly bare: string;
  /** Where it begins, from 1. */
  readonly line: number;
}

/** One piece of a file: a space, a comment, a quoted text, or a single character. */
type Piece =
  | { readonly kind: 'space' | 'comment' | 'quoted' | 'word' | 'other'; readonly end: number }
  | { readonly kind: 'unfinished'; readonly what: string };

const WORD = /[\p{L}_][\p{L}\p{N}_$]*/uy;
const SPACE = /\s+/y;
const NUMBER = /\d[\p{L}\p{N}_.]*/uy;
/** What follows it is no SQL, so it must be met here. */
const COPY_FROM_STDIN = /^\s*COPY\b[\s\S]*\bFROM\s+STDIN\b/i;
const DOLLAR_TAG = /\$(?:[\p{L}_][\p{L}\p{N}_]*)?\$/uy;

/**
 * Cuts an SQL text at the semicolons that end statements: not those in quotes, dollar quotes,
 * (nested) comments, parentheses, or the BEGIN ATOMIC body of a routine.
 * Pieces cover the text: joined with semicolons, what is left out is only space and comments.
 * Errors: CONFIG_INVALID with the line for an unfinished quote or comment, and for commands of a
 * terminal client (`\connect`), except `\restrict`, which dumps begin with; and for
 * COPY … FROM stdin, whose data is no SQL.
 */
export function splitSql(text: string): readonly SqlStatement[] {
  const statements: SqlStatement[] = [];
  let at = text.startsWith('\uFEFF') ? 1 : 0;
  let begin: number | null = null;
  let bare = '';
  let parentheses = 0;
  const words: string[] = [];
  let blocks = 0;
  const line = lineCounter(text);

  const finish = (end: number): void => {
    if (begin !== null) {
      if (COPY_FROM_STDIN.test(bare)) {
        throw invalid(line(begin), 'COPY … FROM stdin brings data; give the schema only');
      }
      statements.push({
        sql: text.slice(begin, end).trimEnd(),
        bare: bare.trim(),
        line: line(begin),
      });
    }
    begin = null;
    bare = '';
    parentheses = 0;
    blocks = 0;
    words.length = 0;
  };

  while (at < text.length) {
    const piece = nextPiece(text, at);
    if (piece.kind === 'unfinished') {
      throw invalid(line(at), `${piece.what} has no end`);
    }
    const content = text.slice(at, piece.end);
    if (piece.kind === 'space' || piece.kind === 'comment') {
      if (begin !== null) bare += ' ';
    } else if (content === '\\') {
      at = skipClientCommand(text, at, line(at));
      continue;
    } else if (content === ';' && parentheses === 0 && blocks === 0) {
      finish(at);
    } else {
      begin ??= at;
      bare += piece.kind === 'quoted' ? `''` : content;
      if (content === '(') parentheses += 1;
      if (content === ')') parentheses = Math.max(0, parentheses - 1);
      if (piece.kind === 'word') {
        words.push(content.toUpperCase());
        blocks = nextBlocks(words, blocks, parentheses);
      }
    }
    at = piece.end;
  }
  finish(text.length);
  return statements;
}

function nextPiece(text: string, at: number): Piece {
  const char = text[at] ?? '';
  const two = text.slice(at, at + 2);
  if (two === '--') {
    const newline = text.indexOf('\n', at);
    return { kind: 'comment', end: newline === -1 ? text.length : newline };
  }
  if (two === '/*') return blockComment(text, at);
  if (char === `'`) return quoted(text, at, `'`, false);
  if (char === '"') return quoted(text, at, '"', false);
  if ((char === 'e' || char === 'E') && text[at + 1] === `'`)
    return quoted(text, at + 1, `'`, true);
  if (char === '$') {
    const tag = matchAt(DOLLAR_TAG, text, at);
    if (tag !== null) {
      const end = text.indexOf(tag, at + tag.length);
      if (end === -1) return { kind: 'unfinished', what: `the quote ${tag}` };
      return { kind: 'quoted', end: end + tag.length };
    }
  }
  const space = matchAt(SPACE, text, at);
  if (space !== null) return { kind: 'space', end: at + space.length };
  const word = matchAt(WORD, text, at);
  if (word !== null) return { kind: 'word', end: at + word.length };
  const number = matchAt(NUMBER, text, at);
  if (number !== null) return { kind: 'other', end: at + number.length };
  return { kind: 'other', end: at + 1 };
}

function matchAt(pattern: RegExp, text: string, at: number): string | null {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? null;
}

/** Ends at the quote that is not doubled (nor, with `escapes`, behind a backslash). */
function quoted(text: string, open: number, quote: string, escapes: boolean): Piece {
  for (let at = open + 1; at < text.length; at += 1) {
    const char = text[at];
    if (escapes && char === '\\') at += 1;
    else if (char === quote) {
      if (text[at + 1] !== quote) return { kind: 'quoted', end: at + 1 };
      at += 1;
    }
  }
  return { kind: 'unfinished', what: `a quote ${quote}` };
}

function blockComment(text: string, open: number): Piece {
  let depth = 0;
  for (let at = open; at < text.length; at += 1) {
    const two = text.slice(at, at + 2);
    if (two === '/*') {
      depth += 1;
      at += 1;
    } else if (two === '*/') {
      depth -= 1;
      at += 1;
      if (depth === 0) return { kind: 'comment', end: at + 1 };
    }
  }
  return { kind: 'unfinished', what: 'a comment' };
}

/**
 * How many BEGIN and CASE are open in the body of a routine, as psql counts them: only in
 * CREATE [OR REPLACE] FUNCTION or PROCEDURE, and outside parentheses.
 */
function nextBlocks(words: readonly string[], blocks: number, parentheses: number): number {
  if (parentheses > 0 || words[0] !== 'CREATE') return blocks;
  const kind = words[1] === 'OR' && words[2] === 'REPLACE' ? words[3] : words[1];
  if (kind !== 'FUNCTION' && kind !== 'PROCEDURE') return blocks;
  const word = words.at(-1);
  if (word === 'BEGIN' || (word === 'CASE' && blocks > 0)) return blocks + 1;
  return word === 'END' && blocks > 0 ? blocks - 1 : blocks;
}

/** Past the line of a terminal client's command, if it is one that changes nothing here. */
function skipClientCommand(text: string, at: number, line: number): number {
  const newline = text.indexOf('\n', at);
  const end = newline === -1 ? text.length : newline;
  const command = text.slice(at, end).trim().split(/\s/, 1)[0] ?? '';
  if (command === '\\restrict' || command === '\\unrestrict') return end;
  throw invalid(line, `${command} is a command of a terminal client, not SQL`);
}

function invalid(line: number, why: string): UnderstudyError {
  return new UnderstudyError('CONFIG_INVALID', `line ${line} of the schema file: ${why}`);
}

/** Line numbers for growing offsets, in one pass over the text. */
function lineCounter(text: string): (offset: number) => number {
  let line = 1;
  let seen = 0;
  return (offset) => {
    for (; seen < offset; seen += 1) if (text.charCodeAt(seen) === 10) line += 1;
    return line;
  };
}
