import type { ColumnSchema, TypeKind } from '../../../schema/table-schema.ts';
import type { TextForm } from './catalogue.ts';

/** Kinds of which two values are equal only if they are spelled alike. */
const EXACT: ReadonlySet<TypeKind> = new Set<TypeKind>([
  'int16',
  'int32',
  'int64',
  // With as many decimals as the column says.
  'numeric',
  'bytes',
  'date',
  'timestamp',
  'timestamptz',
  'year',
  'uuid',
  'enum',
]);

/**
 * True if equal values of the column are always identical. False for nearly all texts: most collations
 * ignore case, and all but a few the spaces at the end, which only a CHAR never has.
 */
export function isExact({ type }: ColumnSchema, form: TextForm | undefined): boolean {
  const collation = form?.collation ?? '';
  if (type.kind === 'char') return collation.endsWith('_bin');
  if (type.kind === 'text') return /_(?:0900|nopad)_bin$/.test(collation);
  return EXACT.has(type.kind);
}
