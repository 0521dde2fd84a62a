import { Problem } from '../problem.ts';
import type { SourceBlock } from './connector.ts';

/** A text of the source block that must be there. */
export function requiredText(source: SourceBlock, field: string): string {
  const value = source[field];
  if (typeof value === 'string' && value !== '') return value;
  throw new Problem('RECORD_CORRUPT', `the source block has no ${field}`);
}

/** A text of the source block, or null. */
export function optionalText(source: SourceBlock, field: string): string | null {
  const value = source[field];
  return typeof value === 'string' ? value : null;
}
