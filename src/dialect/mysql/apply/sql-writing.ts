/** Statements for sessions that are not ours: see SqlWriting. */
import type { SqlWriting } from '../../../schema/sql-writing.ts';
import type { ColumnType } from '../../../schema/table-schema.ts';
import { quote } from '../session/names.ts';
import { NO_LABEL, renderLiteral } from './literal.ts';

/**
 * What each sql_mode, and each character set of a session and of its client, reads the same: ASCII that can be
 * seen, but no backslash.
 */
const PLAIN = /^[\x20-\x5b\x5d-\x7e]*$/;

/** As a text, not as bytes; the introducer leaves the comparison to the column's collation. */
function plainText(text: string): string {
  return PLAIN.test(text)
    ? `'${text.replaceAll(`'`, `''`)}'`
    : `_utf8mb4 X'${Buffer.from(text).toString('hex')}'`;
}

/** No zone has a name for the zero of a moment. */
function instant(bare: string): string {
  return /[1-9]/.test(bare)
    ? `CONVERT_TZ('${digitsOf(bare)}', '+00:00', @@SESSION.time_zone)`
    : `'${digitsOf(bare)}'`;
}

function digitsOf(bare: string): string {
  return bare.replaceAll(/[^-0-9:. ]/g, '');
}

/** Beside a text, numbers may be compared as doubles. */
const NUMBERS = new Set<ColumnType['kind']>(['int16', 'int32', 'int64', 'numeric']);

function written(text: string | null, type: ColumnType): string {
  if (text !== null && NUMBERS.has(type.kind) && /^-?\d+(\.\d+)?$/.test(text)) return text;
  const made = renderLiteral(text, type, { text: plainText, instant });
  return made === NO_LABEL ? '0' : made;
}

/** 0 is a value for an AUTO_INCREMENT column, dates that were taken once are taken again, and nothing is cut. */
const MODE = 'STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO';

const KEPT = [
  'sql_mode',
  'time_zone',
  'character_set_client',
  'character_set_results',
  'collation_connection',
].map((name) => ({ name, kept: `@understudy_${name}` }));

export const sqlWriting: SqlWriting = {
  table: ({ name }) => quote(name),
  column: (name) => quote(name),
  literal: written,
  overriding: '',
  // The servers stamp such a column by themselves, where it is declared so.
  isStamped: ({ kind }) => kind === 'timestamp' || kind === 'timestamptz',
  before: [
    `SET ${KEPT.map(({ name, kept }) => `${kept} = @@SESSION.${name}`).join(', ')};`,
    'SET NAMES utf8mb4;',
    `SET SESSION sql_mode = '${MODE}', time_zone = '+00:00';`,
    'START TRANSACTION;',
  ],
  after: [
    'COMMIT;',
    `SET SESSION ${KEPT.map(({ name, kept }) => `${name} = ${kept}`).join(', ')};`,
  ],
};
