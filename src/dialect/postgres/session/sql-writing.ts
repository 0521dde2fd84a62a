/** Statements for sessions that are not ours: see SqlWriting. */
import { escapeIdentifier } from 'pg';
import type { ColumnType } from '../../../schema/table-schema.ts';
import type { SqlWriting } from '../../../schema/sql-writing.ts';
import { relation } from './names.ts';

/** What cannot be seen, ends a line, or is read in two ways. */
const SPECIAL = /[\\\p{C}\p{Zl}\p{Zp}]/u;

/**
 * On one line, and the same in every session: a text without backslashes is no escaped one, whatever
 * standard_conforming_strings. No client's encoding takes a quote for a part of a longer character.
 */
function plainText(text: string): string {
  const quoted = text.replaceAll(`'`, `''`);
  if (!SPECIAL.test(text)) return `'${quoted}'`;
  // Some take a backslash for one: it then stands before no other, nor before a quote.
  const backslash = /^\p{ASCII}*$/u.test(text) ? '\\\\' : '\\x5C';
  const escaped = quoted.replaceAll(new RegExp(SPECIAL, 'gu'), (special) =>
    special === '\\' ? backslash : escape(special),
  );
  return `E'${escaped}'`;
}

const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

function escape(special: string): string {
  const code = special.codePointAt(0) ?? 0;
  const hex = (digits: number): string => code.toString(16).toUpperCase().padStart(digits, '0');
  if (code < 0x80) return SHORT[special] ?? `\\x${hex(2)}`;
  return code > 0xffff ? `\\U${hex(8)}` : `\\u${hex(4)}`;
}

/** Money is read by the session's locale, but not as a number. */
function literal(text: string | null, { sql, kind, domainOf }: ColumnType): string {
  if (text === null) return 'NULL';
  const amount = kind === 'money' && domainOf === undefined ? text.replaceAll(/[$,]/g, '') : '';
  return /^-?\d+\.\d+$/.test(amount)
    ? `'${amount}'::numeric::${sql}`
    : `${plainText(text)}::${sql}`;
}

export const sqlWriting: SqlWriting = {
  table: relation,
  column: escapeIdentifier,
  literal,
  // An identity that is always generated takes a value so.
  overriding: ' OVERRIDING SYSTEM VALUE',
  isStamped: () => false,
  // Moments tell their offset, and dates are read the same in every DateStyle.
  before: [
    'BEGIN;',
    "SET LOCAL client_encoding = 'UTF8';",
    "SET LOCAL IntervalStyle = 'postgres';",
    "SET LOCAL lc_monetary = 'C';",
    "SET LOCAL xmloption = 'content';",
  ],
  after: ['COMMIT;'],
};
