/** How a person's word for a key's value is spelled as its column writes it (see exactText). */
import type { ColumnSchema, ColumnType, TypeKind } from '../../../schema/table-schema.ts';

const CASTS: Partial<Record<TypeKind, (type: ColumnType) => string>> = {
  numeric: ({ precision, scale }) => `DECIMAL(${String(precision ?? 65)}, ${String(scale ?? 0)})`,
  date: () => 'DATE',
  timestamp: ({ precision }) => `DATETIME(${String(precision ?? 0)})`,
  timestamptz: ({ precision }) => `DATETIME(${String(precision ?? 0)})`,
};

/** What the server casts a word to, to spell it; null where that needs no server. */
export function castOf({ type }: ColumnSchema): string | null {
  return CASTS[type.kind]?.(type) ?? null;
}

const whole = (word: string): string | null =>
  /^\s*[-+]?\d+\s*$/.test(word) ? String(BigInt(word.trim().replace(/^\+/, ''))) : null;

const isTooLong = (word: string, { length = Infinity }: ColumnType): boolean =>
  Array.from(word).length > length;

const SPELLINGS: Partial<Record<TypeKind, (word: string, type: ColumnType) => string | null>> = {
  int16: whole,
  int32: whole,
  int64: whole,
  bytes: (word) => {
    const isHex = /^0x(?:[0-9a-f]{2})*$/i.test(word);
    return `0x${(isHex ? word.slice(2) : Buffer.from(word).toString('hex')).toLowerCase()}`;
  },
  enum: (word, { labels }) => (labels?.includes(word) === true ? word : null),
  uuid: (word) =>
    /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(word) ? word.toLowerCase() : null,
  char: (word, type) => (isTooLong(word, type) ? null : word.replace(/ +$/, '')),
  text: (word, type) => (isTooLong(word, type) ? null : word),
};

/** Null if the column has no such value. */
export function spelledHere(word: string, { type }: ColumnSchema): string | null {
  const spell = SPELLINGS[type.kind];
  return spell === undefined ? word : spell(word, type);
}
