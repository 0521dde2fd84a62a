/**
 * The connector's field.name.adjustment.mode: names of columns that Avro does not allow are sent
 * as other names, in whichever encoding. Here they become the columns' again.
 */
import { unreachable } from '../util/assert.ts';
import { Problem } from './problem.ts';

/**
 * `avro` replaces (not reversible: the shadow's columns decide), `avro_unicode` escapes.
 */
export type NameMode = 'none' | 'avro' | 'avro_unicode';

const ESCAPED = /_u([0-9a-f]{4})/g;

/** How Debezium's `avro` mode writes a name: ASCII letters, digits and _, no digit first. */
function avroName(name: string): string {
  const replaced = name.replaceAll(/[^A-Za-z0-9_]/gu, (char) => '_'.repeat(char.length));
  return /^[0-9]/.test(replaced) ? `_${replaced}` : replaced;
}

/** The name that `avro_unicode` wrote as `_uXXXX` for every character that is not allowed, and _. */
function fromAvroUnicode(sent: string): string {
  return sent.replaceAll(ESCAPED, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
}

/**
 * A table or schema of a schema's name, which has been adjusted in the same way; null if it cannot
 * be told.
 */
export function nameInSchema(sent: string, mode: NameMode): string | null {
  switch (mode) {
    case 'none':
      return sent;
    case 'avro_unicode':
      return fromAvroUnicode(sent);
    case 'avro':
      return sent.includes('_') ? null : sent;
    default:
      return unreachable(mode);
  }
}

/**
 * From names as sent to those of a table's columns. The function returns the name itself where
 * there is no such column; throws a Problem, COLUMN_UNKNOWN, where several may be meant.
 */
export function columnNames(columns: readonly string[], mode: NameMode): (sent: string) => string {
  if (mode === 'none') return (sent) => sent;
  if (mode === 'avro_unicode') return fromAvroUnicode;
  const bySent = new Map<string, string[]>();
  for (const column of columns) {
    const sent = avroName(column);
    const same = bySent.get(sent);
    if (same === undefined) bySent.set(sent, [column]);
    else same.push(column);
  }
  return (sent) => {
    const [column = sent, another] = bySent.get(sent) ?? [];
    if (another === undefined) return column;
    throw new Problem(
      'COLUMN_UNKNOWN',
      `several columns are sent as ${sent}; use field.name.adjustment.mode=avro_unicode`,
      column,
    );
  };
}
