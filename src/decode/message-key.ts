/** The names of a message key's fields, without reading the key where a neighbour's was read. */
import type { LogRecord } from '../change/record.ts';
import type { RecordOpener } from './envelope/opener.ts';
import { isObject, NeedExact } from './envelope/exact-number.ts';
import { Problem } from './problem.ts';

interface Known {
  /**
   * What a key of the same fields begins with: all before its values where it carries its schema. Null
   * for one that refers to a schema, and for one of several fields without.
   */
  readonly prefix: Buffer | null;
  /** Without a schema the prefix says no more than the first field: that there is no other, no comma does. */
  readonly isBare: boolean;
  /** The schema's name, where it refers to one. */
  readonly schema: string | null;
  readonly fields: readonly string[];
}

const PAYLOAD = Buffer.from('"payload":');
const COMMA = 0x2c;

export class MessageKeys {
  readonly #opener: RecordOpener;
  /** By topic, the key last seen. */
  readonly #known = new Map<string, Known>();
  /** One list for the same names, whatever record they are of. */
  readonly #lists = new Map<string, readonly string[]>();

  constructor(opener: RecordOpener) {
    this.#opener = opener;
  }

  /**
   * As sent; null without a key, and for one that cannot be read. The same list for keys of the same
   * fields.
   */
  fields(record: LogRecord): readonly string[] | null {
    try {
      return this.#fields(record);
    } catch (error) {
      if (error instanceof Problem) return null;
      throw error;
    }
  }

  #fields(record: LogRecord): readonly string[] | null {
    const { key, topic } = record;
    if (key === null) return null;
    const known = this.#known.get(topic);
    const schema = this.#opener.schemaName(record, 'key', key);
    if (known !== undefined && isLike(known, key, schema)) return known.fields;
    const payload = this.#open(record, key);
    if (!isObject(payload)) return null;
    const fields = this.#list(Object.keys(payload), known);
    const place = schema === null ? key.indexOf(PAYLOAD) : -1;
    const isBare = schema === null && place < 0;
    const prefix = isBare
      ? bareHead(fields)
      : place < 0
        ? null
        : key.subarray(0, place + PAYLOAD.length);
    // The record's own bytes are not to be kept.
    const kept = prefix === null ? null : Buffer.from(prefix);
    this.#known.set(topic, { prefix: kept, isBare, schema, fields });
    return fields;
  }

  #open(record: LogRecord, key: Buffer): unknown {
    try {
      return this.#opener.open(record, 'key', key, 'native').payload;
    } catch (error) {
      if (!(error instanceof NeedExact)) throw error;
      return this.#opener.open(record, 'key', key, 'exact').payload;
    }
  }

  #list(names: readonly string[], known: Known | undefined): readonly string[] {
    if (known !== undefined && isSame(known.fields, names)) return known.fields;
    const text = JSON.stringify(names);
    const list = this.#lists.get(text) ?? names;
    this.#lists.set(text, list);
    return list;
  }
}

function bareHead(fields: readonly string[]): Buffer | null {
  return fields.length === 1 ? Buffer.from(`{${JSON.stringify(fields[0])}:`) : null;
}

function isLike({ prefix, isBare, schema }: Known, key: Buffer, now: string | null): boolean {
  if (now !== null || schema !== null) return schema === now;
  if (prefix === null || key.length < prefix.length) return false;
  if (key.compare(prefix, 0, prefix.length, 0, prefix.length) !== 0) return false;
  return !isBare || !key.includes(COMMA);
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, i) => name === b[i]);
}
