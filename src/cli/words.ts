import type { TableId } from '../change/table-id.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';

/** `schema.table` as it is written on the command line. USAGE if it is not. */
export function parseTable(text: string): TableId {
  const dot = text.indexOf('.');
  if (dot <= 0 || dot === text.length - 1) {
    throw new UnderstudyError('USAGE', `'${text}' is no table like public.orders`);
  }
  return { schema: text.slice(0, dot), name: text.slice(dot + 1) };
}

/** A whole number above zero. USAGE if it is not. */
export function parsePositive(text: string, option: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) {
    throw new UnderstudyError('USAGE', `${option} takes a positive whole number`);
  }
  return value;
}
