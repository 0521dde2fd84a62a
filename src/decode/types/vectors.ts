/** Vectors and geometries, which Debezium sends as arrays and structs. */
import {
  ExactNumber,
  float32Text,
  floatText,
  integer,
  isObject,
  jsonType,
} from '../envelope/exact-number.ts';
import { unreadable } from '../problem.ts';
import { sentBytes } from './binary.ts';

/** A vector of numbers as the text `[1,2.5]`. Its elements are 32 bits wide or less. */
export function vectorText(sent: unknown): string {
  return `[${elements(sent).map(float32Text).join(',')}]`;
}

/** A vector as 32-bit floats, the lowest byte first: how the server stores it. */
export function vectorBytes(sent: unknown): Buffer {
  const numbers = elements(sent);
  const bytes = Buffer.alloc(numbers.length * 4);
  numbers.forEach((number, i) => {
    const single = number instanceof ExactNumber ? Number(number.text) : number;
    if (typeof single !== 'number') {
      throw unreadable(`expected a floating point number, found ${jsonType(single)}`);
    }
    bytes.writeFloatLE(single, i * 4);
  });
  return bytes;
}

function elements(sent: unknown): readonly unknown[] {
  if (Array.isArray(sent)) return sent;
  throw unreadable(`expected a vector, found ${jsonType(sent)}`);
}

/**
 * A sparse vector of `dimensions` and a map from index to number, as the text `{1:1.5,3:2}/5`. Maps
 * whose keys are no texts arrive as pairs.
 */
export function sparseVectorText(sent: unknown): string {
  if (!isObject(sent)) throw unreadable(`expected a sparse vector, found ${jsonType(sent)}`);
  const { dimensions, vector } = sent;
  const pairs = isObject(vector) ? Object.entries(vector) : vector;
  if (!Array.isArray(pairs)) throw unreadable(`expected a map, found ${jsonType(pairs)}`);
  const parts = pairs.map((pair: unknown) => {
    if (!Array.isArray(pair) || pair.length !== 2) throw unreadable('expected pairs in the map');
    const [index, number] = pair as readonly unknown[];
    const at = typeof index === 'string' && /^\d+$/.test(index) ? BigInt(index) : integer(index);
    return [at, float32Text(number)] as const;
  });
  parts.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return `{${parts.map(([at, number]) => `${at}:${number}`).join(',')}}/${integer(dimensions)}`;
}

/** `io.debezium.data.geometry.Point`: x and y; wkb and srid say the same again. */
export function pointText(sent: unknown): string {
  if (!isObject(sent)) throw unreadable('expected a point');
  return `(${floatText(sent['x'])},${floatText(sent['y'])})`;
}

/** A struct of wkb and srid. */
function wellKnown(sent: unknown): { readonly wkb: Buffer; readonly srid: number } {
  if (!isObject(sent)) throw unreadable(`expected a geometry, found ${jsonType(sent)}`);
  const wkb = sentBytes(sent['wkb']);
  const srid = sent['srid'] ?? 0;
  if (typeof srid !== 'number' || !Number.isInteger(srid)) {
    throw unreadable('a geometry whose srid is no integer');
  }
  if (wkb.length < MIN_WKB) throw unreadable('a geometry that is too short');
  return { wkb, srid };
}

/** The byte order and the type. */
const MIN_WKB = 5;

/** How the server stores a geometry: the srid in four bytes, the lowest first, and the WKB. */
export function internalGeometry(sent: unknown): Buffer {
  const { wkb, srid } = wellKnown(sent);
  const head = Buffer.alloc(4);
  head.writeUInt32LE(srid >>> 0);
  return Buffer.concat([head, wkb]);
}

/** In the type's word: the srid follows. */
const HAS_SRID = 0x20000000;

/** Extended WKB in hexadecimal, the engine's own text form. The srid may already be in the WKB. */
export function extendedWkb(sent: unknown): string {
  const { wkb, srid } = wellKnown(sent);
  const little = wkb[0] === 1;
  const type = little ? wkb.readUInt32LE(1) : wkb.readUInt32BE(1);
  if (srid === 0 || (type & HAS_SRID) !== 0) return wkb.toString('hex').toUpperCase();
  const head = Buffer.alloc(9);
  head[0] = wkb[0] ?? 0;
  if (little) {
    head.writeUInt32LE((type | HAS_SRID) >>> 0, 1);
    head.writeInt32LE(srid, 5);
  } else {
    head.writeUInt32BE((type | HAS_SRID) >>> 0, 1);
    head.writeInt32BE(srid, 5);
  }
  return Buffer.concat([head, wkb.subarray(MIN_WKB)])
    .toString('hex')
    .toUpperCase();
}
