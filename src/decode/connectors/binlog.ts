import type { SourcePosition } from '../../change/position.ts';
import { optionalInteger } from '../envelope/exact-number.ts';
import { order, type Connector, type PositionOrder } from './connector.ts';
import { optionalText, requiredText } from './source-fields.ts';

export type BinlogPosition = Extract<SourcePosition, { connector: 'mysql' | 'mariadb' }>;

/** Where GTID `a` stands seen from `b`: comparable only within one sequence of numbers. */
export type GtidOrder = (a: string, b: string) => PositionOrder;

/**
 * A connector that reads a binlog. GTIDs of one sequence decide; without them, or within one
 * transaction, file, position and row do. Files of different base names (a fail-over, a renamed
 * log) and GTIDs of different servers do not compare.
 */
export function binlogConnector(
  name: BinlogPosition['connector'],
  gtids: GtidOrder,
): Connector<BinlogPosition> {
  return {
    name,
    schemaField: 'db',
    table: (source) => ({
      schema: requiredText(source, 'db'),
      name: requiredText(source, 'table'),
    }),
    position: (source) => ({
      connector: name,
      file: optionalText(source, 'file'),
      pos: optionalInteger(source['pos']),
      row: Number(optionalInteger(source['row']) ?? 0n),
      gtid: optionalText(source, 'gtid'),
    }),
    compare: (a, b) => {
      if (a.gtid !== null && b.gtid !== null && a.gtid !== b.gtid) return gtids(a.gtid, b.gtid);
      return comparePlaces(a, b);
    },
    compareInLog: (a, b) => {
      const places = comparePlaces(a, b);
      if (a.gtid === null && b.gtid === null) return places;
      if (a.gtid === null || b.gtid === null) return 'incomparable';
      // Another server's binlog has the same transactions at other places.
      if (a.gtid === b.gtid) return a.file === b.file ? places : 'incomparable';
      return gtids(a.gtid, b.gtid) === places ? places : 'incomparable';
    },
    transactionId: (id) => id,
    committedAt: () => null,
    countsRows: () => true,
    truncatesAreMarked: false,
    deletedRowIsReal: true,
  };
}

function comparePlaces(a: BinlogPosition, b: BinlogPosition): PositionOrder {
  if (a.file !== null && a.file === b.file && a.pos !== null && b.pos !== null) {
    const places = order(a.pos, b.pos);
    return places === 'equal' ? order(a.row, b.row) : places;
  }
  const fileA = numbered(a.file);
  const fileB = numbered(b.file);
  if (fileA === null || fileB === null || fileA.base !== fileB.base) return 'incomparable';
  if (a.pos === null || b.pos === null) return 'incomparable';
  const files = order(fileA.number, fileB.number);
  if (files !== 'equal') return files;
  const places = order(a.pos, b.pos);
  return places === 'equal' ? order(a.row, b.row) : places;
}

/** `binlog.000042`: its base name and number. */
function numbered(file: string | null): { base: string; number: bigint } | null {
  const match = file === null ? null : /^(.*)\.(\d+)$/.exec(file);
  if (match === null) return null;
  return { base: match[1] ?? '', number: BigInt(match[2] ?? '0') };
}

/**
 * Splits a GTID at its last separator into the sequence it belongs to and its number there. Runs
 * several times for every change, so that nothing is parsed where texts can be compared.
 */
export function gtidOrder(separator: ':' | '-', sequence: (head: string) => string): GtidOrder {
  return (a, b) => {
    const cutA = a.lastIndexOf(separator) + 1;
    const cutB = b.lastIndexOf(separator) + 1;
    if (!isNumber(a, cutA) || !isNumber(b, cutB)) return 'incomparable';
    const isOneHead = cutA === cutB && isSame(a, b, cutA);
    if (!isOneHead && sequence(a.slice(0, cutA)) !== sequence(b.slice(0, cutB))) {
      return 'incomparable';
    }
    return numberOrder(a, b, cutA, cutB);
  };
}

function isSame(a: string, b: string, length: number): boolean {
  for (let i = 0; i < length; i += 1) if (a.charCodeAt(i) !== b.charCodeAt(i)) return false;
  return true;
}

function isNumber(text: string, from: number): boolean {
  for (let i = from; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (code < ZERO || code > NINE) return false;
  }
  return from < text.length && (text.charCodeAt(from) !== ZERO || from + 1 === text.length);
}

const ZERO = 48;
const NINE = 57;

/** Of decimal numbers without leading zeros the longer one is greater. */
function numberOrder(a: string, b: string, cutA: number, cutB: number): PositionOrder {
  const digits = order(a.length - cutA, b.length - cutB);
  if (digits !== 'equal') return digits;
  for (let i = cutA; i < a.length; i += 1) {
    const digit = order(a.charCodeAt(i), b.charCodeAt(i - cutA + cutB));
    if (digit !== 'equal') return digit;
  }
  return 'equal';
}
