/** How a person's word for a key's value is spelled as its column writes it (see exactText). Pure. */
import type { ColumnType, TypeKind } from '../../../schema/table-schema.ts';

type Spelling = (word: string, type: ColumnType) => string | null;

const whole: Spelling = (word) =>
  /^\s*[-+]?\d+\s*$/.test(word) ? String(BigInt(word.trim().replace(/^\+/, ''))) : null;

/** With as many digits behind the point as the column has; null if that would cut some off. */
function fraction(digits: string, places: number): string | null {
  const needed = digits.replace(/0+$/, '');
  if (needed.length > places) return null;
  return places === 0 ? '' : `.${needed.padEnd(places, '0')}`;
}

const decimal: Spelling = (word, { precision = 65, scale = 0 }) => {
  const [, sign = '', before, behind = ''] = /^\s*([-+]?)(\d+)(?:\.(\d*))?\s*$/.exec(word) ?? [];
  const rest = fraction(behind, scale);
  if (before === undefined || rest === null) return null;
  const digits = String(BigInt(before));
  if (digits !== '0' && digits.length > precision - scale) return null;
  const isZero = /^[0.]*$/.test(digits + rest);
  return `${sign === '-' && !isZero ? '-' : ''}${digits}${rest}`;
};

const DATE = String.raw`\d{4}-(?:0\d|1[0-2])-(?:[0-2]\d|3[01])`;
const TIME = String.raw`(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d`;
const MOMENT = new RegExp(`^(${DATE})[ T](${TIME})(?:\\.(\\d{1,6}))?(?:Z|\\+00(?::00)?)?$`);

const date: Spelling = (word) => (new RegExp(`^${DATE}$`).test(word) ? word : null);

const moment: Spelling = (word, { precision = 0 }) => {
  const [, day, time, digits = ''] = MOMENT.exec(word) ?? [];
  const rest = fraction(digits, precision);
  return day === undefined || time === undefined || rest === null ? null : `${day} ${time}${rest}`;
};

const instant: Spelling = (word, type) => {
  const text = moment(word, type);
  return text === null ? null : `${text}+00`;
};

const isTooLong = (word: string, { length = Infinity }: ColumnType): boolean =>
  Array.from(word).length > length;

const SPELLINGS: Partial<Record<TypeKind, Spelling>> = {
  int16: whole,
  int32: whole,
  int64: whole,
  numeric: decimal,
  date,
  timestamp: moment,
  timestamptz: instant,
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
export function spell(word: string, type: ColumnType): string | null {
  const spelling = SPELLINGS[type.kind];
  return spelling === undefined ? word : spelling(word, type);
}
