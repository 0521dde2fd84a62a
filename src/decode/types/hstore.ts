/** hstore, which Debezium sends as an object or as the JSON of one. */
import { isObject } from '../envelope/exact-number.ts';
import { unreadable } from '../problem.ts';

/** hstore.handling.mode=json: JSON text of an object, to the engine's own input text. */
export function hstoreFromJson(text: string): string {
  let json: unknown;
  try {
    json = JSON.parse(text) as unknown;
  } catch {
    throw unreadable('expected an object in JSON');
  }
  return hstoreFromMap(json);
}

/** hstore.handling.mode=map: an object of texts and nulls. */
export function hstoreFromMap(map: unknown): string {
  if (!isObject(map)) throw unreadable('expected an object');
  return Object.entries(map)
    .map(([key, value]) => {
      if (value === null) return `${quote(key)}=>NULL`;
      if (typeof value !== 'string') throw unreadable('expected texts in the object');
      return `${quote(key)}=>${quote(value)}`;
    })
    .join(', ');
}

function quote(text: string): string {
  if (!text.includes('"') && !text.includes('\\')) return `"${text}"`;
  return `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
}
