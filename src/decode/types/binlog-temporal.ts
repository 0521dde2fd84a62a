/**
 * Debezium's temporal numbers and ISO texts, to the text forms of the engines that write a binlog:
 * years 0000 to 9999, no infinity, and a TIME that is a signed duration. What lies outside was
 * wrapped or clamped by the connector and is an error. Trailing zeros of a fraction are cut, so
 * that a row reads the same from the snapshot, which cuts them, and from the stream, which pads.
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
  wholeMicros,
  type TimeUnit,
} from './calendar.ts';

/** 0000-01-01 and 9999-12-31, in days of the epoch. */
const FIRST_DATE = -719_528;
const LAST_DATE = 2_932_896;
/** 839 hours: TIME ends before it, on either side. */
const END_OF_TIME = 839n * 3_600_000_000n;

/** Days since the epoch. */
export function binlogDateText(value: unknown): string {
  const days = Number(integer(value));
  if (days < FIRST_DATE || days > LAST_DATE) throw unreadable('date out of range');
  const [year, month, day] = civil(days);
  return `${pad(year, 4)}-${pad(month, 2)}-${pad(day, 2)}`;
}

/** A signed duration of up to 838:59:59.999999. */
export function binlogTimeText(value: unknown, unit: TimeUnit): string {
  const micros = wholeMicros(integer(value), unit);
  if (micros <= -END_OF_TIME || micros >= END_OF_TIME) throw unreadable('time out of range');
  return clockText(micros);
}

/** A zone-less timestamp since the epoch. */
export function binlogTimestampText(value: unknown, unit: TimeUnit): string {
  const micros = wholeMicros(integer(value), unit);
  const days = floorDivide(micros, MICROS_PER_DAY);
  return `${binlogDateText(days)} ${clockText(micros - days * MICROS_PER_DAY)}`;
}

/** `io.debezium.time.IsoDate`, such as `2017-09-15Z`. */
export function binlogIsoDateText(text: string): string {
  const match = DATE_FORM.exec(text);
  if (match === null) throw unreadable('expected a date in ISO 8601');
  return isoDate(match);
}

/** `IsoTimestamp` (zone-less in spite of its Z) and `ZonedTimestamp` (in UTC). */
export function binlogIsoTimestampText(text: string, zone: '' | '+00'): string {
  const match = TIMESTAMP_FORM.exec(text);
  if (match === null) throw unreadable('expected a timestamp in ISO 8601');
  return `${isoDate(match)} ${isoClock(match[4], match[5])}${zone}`;
}

function isoDate(match: RegExpExecArray): string {
  const year = Number(match[1]);
  if (year < 0 || year > 9999) throw unreadable('date out of range');
  return `${pad(year, 4)}-${match[2] ?? ''}-${match[3] ?? ''}`;
}

/** What the stream sends for YEAR 0000; the years of the type begin one later. */
const ZERO_YEAR = 1900;

/** `io.debezium.time.Year`. */
export function yearText(value: unknown): string {
  const year = Number(integer(value));
  if (year === ZERO_YEAR) return '0000';
  if (year !== 0 && (year < 1901 || year > 2155)) throw unreadable('year out of range');
  return pad(year, 4);
}
