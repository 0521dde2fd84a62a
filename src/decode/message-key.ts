/** The names of a message key's fields, without reading the key where a neighbour's was read. */
import type { LogRecord } from '../change/record.ts';
import type { RecordOpener } from './envelope/opener.ts';
import { isObject, NeedExact } from './envelope/exact-number.ts';
import { Problem } from './problem.ts';

interface Known {
  /** What the key's bytes begin with, where its schema is before its values; else its schema's name. */
  readonly prefix: Buffer | null;
  readonly schema: string | null;
  readonly fields: readonly string[];
}

const PAYLOAD = Buffer.from('"payload":');

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
      if (error instanceof Problem || error instanceof NeedExact) return null;
      throw error;
    }
  }

  #fields(record: LogRecord): readonly string[] | null {
    const { key, topic } = record;
    if (key === null) return null;
    const known = this.#known.get(topic);
    const schema = this.#opener.schemaName(record, 'key', key);
    if (known !== undefined && isLike(known, key, schema)) return known.fields;
    const { payload } = this.#opener.open(record, 'key', key, 'exact');
    if (!isObject(payload)) return null;
    const fields = this.#list(Object.keys(payload));
    const place = schema === null ? key.indexOf(PAYLOAD) : -1;
    const prefix = place < 0 ? null : Buffer.from(key.subarray(0, place + PAYLOAD.length));
    if (prefix !== null || schema !== null) this.#known.set(topic, { prefix, schema, fields });
    return fields;
  }

  #list(names: readonly string[]): readonly string[] {
    const text = JSON.stringify(names);
    const list = this.#lists.get(text) ?? names;
    this.#lists.set(text, list);
    return list;
  }
}

function isLike({ prefix, schema }: Known, key: Buffer, now: string | null): boolean {
  if (prefix === null || now !== null) return schema === now;
  return (
    key.length >= prefix.length && key.compare(prefix, 0, prefix.length, 0, prefix.length) === 0
  );
}
