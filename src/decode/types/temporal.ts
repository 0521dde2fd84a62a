/**
 * Debezium's temporal numbers and ISO texts, to the engine's own input text (`0044-03-15 BC`,
 * `infinity`, times with trailing zeros of the fraction cut, zoned ones in UTC).
 *
 * Infinity arrives as numbers outside the engine's range, different ones from a snapshot and from
 * the stream; they are found by lookup. Any other value out of range was wrapped or clamped by the
 * connector and is an error.
 */
import { integer } from '../envelope/exact-number.ts';
import { unreadable } from '../problem.ts';
import {
  civil,
  clockText,
  DATE_FORM,
  floorDivide,
  isoClock,
  MICROS_PER_DAY,
  pad,
  TIMESTAMP_FORM,
  safeMicros,
  wholeMicros,
  type TimeUnit,
} from './calendar.ts';

/** 4714-11-24 BC and 5874897-12-31, in days of the epoch. */
const FIRST_DATE = -2_440_588;
const LAST_DATE = 2_145_042_905;
/** From 4714-11-24 BC to before 294277-01-01, in microseconds of the epoch. */
const FIRST_MICROS = BigInt(FIRST_DATE) * MICROS_PER_DAY;
const END_MICROS = 9_224_318_016_000_000_000n;
const DAY = Number(MICROS_PER_DAY);
const MAX_INT64 = 2n ** 63n - 1n;
const MIN_INT64 = -(2n ** 63n);

/** The stream sends the engine's own infinities, the snapshot those of Java's dates. */
const DATE_SENTINELS: ReadonlyMap<number, string> = new Map([
  [-2_147_472_692, 'infinity'],
  [-2_147_472_691, '-infinity'],
  [-622_191_234, 'infinity'],
  [-622_191_233, 'infinity'],
  [-625_821_272, '-infinity'],
  [-625_821_271, '-infinity'],
]);

const ISO_SENTINELS: ReadonlyMap<string, string> = new Map([
  ['-5877611-06-21Z', 'infinity'],
  ['-5877611-06-22Z', '-infinity'],
  ['+292278994-08-16Z', 'infinity'],
  ['+292278994-08-17Z', 'infinity'],
  ['+292269055-12-02Z', '-infinity'],
  ['+292269055-12-03Z', '-infinity'],
  ['+294247-01-10T04:00:25.2Z', 'infinity'],
  ['-290308-12-21T19:59:27.6Z', '-infinity'],
]);

const MICRO_INFINITY = 9_223_372_036_825_200_000n;
const MICRO_MINUS_INFINITY = -9_223_372_036_832_400_000n;

/** Days since the epoch. */
export function dateText(value: unknown): string {
  const days = Number.isSafeInteger(value) ? (value as number) : Number(integer(value));
  const sentinel = DATE_SENTINELS.get(days);
  if (sentinel !== undefined) return sentinel;
  if (days < FIRST_DATE || days > LAST_DATE) throw unreadable('date out of range');
  const [year, month, day] = civil(days);
  return year > 0
    ? `${pad(year, 4)}-${pad(month, 2)}-${pad(day, 2)}`
    : `${pad(1 - year, 4)}-${pad(month, 2)}-${pad(day, 2)} BC`;
}

/** Time since midnight. */
export function timeText(value: unknown, unit: TimeUnit): string {
  return clockText(safeMicros(value, unit) ?? wholeMicros(integer(value), unit));
}

/** A zone-less timestamp since the epoch. */
export function timestampText(value: unknown, unit: TimeUnit): string {
  // Of such numbers all are in range, and none stands for infinity.
  const safe = safeMicros(value, unit);
  if (safe !== null) {
    const inDay = safe % DAY;
    const clock = inDay < 0 ? inDay + DAY : inDay;
    return atClock((safe - clock) / DAY, clock);
  }
  const sent = integer(value);
  if (unit === 'ns') {
    if (sent === MAX_INT64) return 'infinity';
    if (sent === MIN_INT64) return '-infinity';
  } else {
    const scale = unit === 'ms' ? 1000n : 1n;
    if (sent === MICRO_INFINITY / scale) return 'infinity';
    if (sent === MICRO_MINUS_INFINITY / scale) return '-infinity';
  }
  const micros = wholeMicros(sent, unit);
  // In microseconds, the ends of int64 are what the connector makes of values beyond them.
  const clamped = micros === MAX_INT64 || micros === MIN_INT64;
  if (clamped || micros < FIRST_MICROS || micros >= END_MICROS) {
    throw unreadable('timestamp out of range');
  }
  const days = floorDivide(micros, MICROS_PER_DAY);
  return atClock(Number(days), Number(micros - days * MICROS_PER_DAY));
}

function atClock(days: number, micros: number): string {
  const [year, month, day] = civil(days);
  const date = `${pad(year > 0 ? year : 1 - year, 4)}-${pad(month, 2)}-${pad(day, 2)}`;
  const clock = clockText(micros);
  return year > 0 ? `${date} ${clock}` : `${date} ${clock} BC`;
}

/**
 * `io.debezium.time.MicroDuration`: microseconds in which a month counts 365.25 / 12 days. The
 * connector has already lost months and days; what is left is exact. Clamped ends are errors.
 */
export function durationText(value: unknown): string {
  const micros = integer(value);
  if (micros === MAX_INT64 || micros === MIN_INT64) throw unreadable('interval out of range');
  return clockText(micros);
}

const ISO_INTERVAL =
  /^P(?=[-\dT])(?:-?\d+Y)?(?:-?\d+M)?(?:-?\d+D)?(?:T(?:-?\d+H)?(?:-?\d+M)?(?:-?\d+(?:\.\d+)?S)?)?$/;

/** `io.debezium.time.Interval`: ISO 8601 with a sign per field, which the engine reads as is. */
export function intervalText(text: string): string {
  if (!ISO_INTERVAL.test(text)) throw unreadable('expected an interval in ISO 8601');
  return text;
}

/** `io.debezium.time.IsoDate`, such as `2017-09-15Z`. */
export function isoDateText(text: string): string {
  const sentinel = ISO_SENTINELS.get(text);
  if (sentinel !== undefined) return sentinel;
  const match = DATE_FORM.exec(text);
  if (match === null) throw unreadable('expected a date in ISO 8601');
  const [date, era] = isoDate(match);
  return date + era;
}

/** `IsoTimestamp` (zone-less in spite of its Z) and `ZonedTimestamp` (in UTC). */
export function isoTimestampText(text: string, zone: '' | '+00'): string {
  if (text === 'infinity' || text === '-infinity') return text;
  const sentinel = zone === '' ? ISO_SENTINELS.get(text) : undefined;
  if (sentinel !== undefined) return sentinel;
  const match = TIMESTAMP_FORM.exec(text);
  if (match === null) throw unreadable('expected a timestamp in ISO 8601');
  const [date, era] = isoDate(match);
  return `${date} ${isoClock(match[4], match[5])}${zone}${era}`;
}

function isoDate(match: RegExpExecArray): [date: string, era: '' | ' BC'] {
  const year = Number(match[1]);
  const date = `${pad(year > 0 ? year : 1 - year, 4)}-${match[2] ?? ''}-${match[3] ?? ''}`;
  return [date, year > 0 ? '' : ' BC'];
}
