/** Calendar and clock, as far as all engines share them. */
import { unreadable } from '../problem.ts';

export const MICROS_PER_DAY = 86_400_000_000n;
const MICROS_PER_SECOND = 1_000_000n;

/** Units of a number of time, per second. */
export type TimeUnit = 'ms' | 'us' | 'ns';

const ISO_DATE = String.raw`([+-]?\d{4,9})-(\d\d)-(\d\d)`;
const ISO_TIME = String.raw`(\d\d:\d\d(?::\d\d)?)(?:\.(\d+))?`;
export const DATE_FORM = new RegExp(`^${ISO_DATE}Z$`);
const TIME_FORM = new RegExp(`^${ISO_TIME}Z$`);
export const TIMESTAMP_FORM = new RegExp(`^${ISO_DATE}T${ISO_TIME}Z$`);

/** `io.debezium.time.IsoTime` (`10:15:30.123Z`); `zone` is what follows the time. */
export function isoTimeText(text: string, zone: '' | '+00'): string {
  const match = TIME_FORM.exec(text);
  if (match === null) throw unreadable('expected a time in ISO 8601');
  return isoClock(match[1], match[2]) + zone;
}

/** The clock of an ISO text: seconds always, trailing zeros of the fraction never. */
export function isoClock(clock: string | undefined, digits: string | undefined): string {
  const hours = clock ?? '';
  return (hours.length === 5 ? `${hours}:00` : hours) + fraction(digits);
}

const ZERO = 0x30;

function fraction(digits: string | undefined): string {
  if (digits === undefined) return '';
  let end = digits.length;
  while (end > 0 && digits.charCodeAt(end - 1) === ZERO) end -= 1;
  return end === 0 ? '' : `.${digits.slice(0, end)}`;
}

/** Microseconds. Throws a Problem where the number is finer: no column holds such. */
export function wholeMicros(value: bigint, unit: TimeUnit): bigint {
  switch (unit) {
    case 'ms':
      return value * 1000n;
    case 'us':
      return value;
    case 'ns':
      if (value % 1000n !== 0n) throw unreadable('a time finer than a microsecond');
      return value / 1000n;
  }
}

/** `[-]HH:MM:SS[.ffffff]`; hours may be more than 24. A number must be a safe integer. */
export function clockText(micros: bigint | number): string {
  const negative = micros < 0;
  if (typeof micros === 'number') {
    const size = Math.abs(micros);
    const rest = size % 1_000_000;
    const seconds = (size - rest) / 1_000_000;
    const inHour = seconds % 3600;
    return clockOf(negative, (seconds - inHour) / 3600, inHour, rest);
  }
  const size = negative ? -micros : micros;
  const seconds = size / MICROS_PER_SECOND;
  const rest = Number(size % MICROS_PER_SECOND);
  return clockOf(negative, seconds / 3600n, Number(seconds % 3600n), rest);
}

/** `inHour` in seconds, `rest` in microseconds. */
function clockOf(negative: boolean, hours: bigint | number, inHour: number, rest: number): string {
  const clock = `${String(hours).padStart(2, '0')}:${pad(Math.floor(inHour / 60), 2)}:${pad(inHour % 60, 2)}`;
  return (negative ? '-' : '') + clock + (rest === 0 ? '' : fraction(pad(rest, 6)));
}

/** The same as wholeMicros for numbers that stay exact; null for all others. */
export function safeMicros(value: unknown, unit: TimeUnit): number | null {
  if (typeof value !== 'number') return null;
  const micros = unit === 'ms' ? value * 1000 : unit === 'us' ? value : value / 1000;
  return Number.isSafeInteger(value) && Number.isSafeInteger(micros) ? micros : null;
}

export function floorDivide(value: bigint, by: bigint): bigint {
  const quotient = value / by;
  return value % by < 0n ? quotient - 1n : quotient;
}

export function pad(value: number, width: number): string {
  return String(value).padStart(width, '0');
}

/** Proleptic Gregorian date of a day of the epoch (Howard Hinnant's civil_from_days). */
export function civil(days: number): [year: number, month: number, day: number] {
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra -
      Math.floor(dayOfEra / 1460) +
      Math.floor(dayOfEra / 36_524) -
      Math.floor(dayOfEra / 146_096)) /
      365,
  );
  const dayOfYear =
    dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1;
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9;
  return [yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day];
}
