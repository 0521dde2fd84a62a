/**
 * An Avro schema that AvroData wrote (the converters of Confluent and of Apicurio), to the Kafka
 * Connect schema it stands for, and to a schema of the same bytes for the reader.
 *
 * The reader's schema has only what decides how bytes are read: no logical types (Debezium writes
 * decimals whose scale is beyond their precision, which a strict reader refuses), no defaults, names
 * of our own. A map is read as the array of its entries, which are the same bytes: as an object it
 * would lose the key `__proto__`.
 */
import { Problem } from '../problem.ts';
import type { ConnectField, ConnectSchema, ConnectType } from './connect-schema.ts';
import { isObject } from './exact-number.ts';

/** A schema for the reader, in Avro's JSON. */
export type ReaderSchema =
  | string
  | readonly ReaderSchema[]
  | { readonly type: 'array'; readonly items: ReaderSchema }
  | { readonly type: 'enum'; readonly name: string; readonly symbols: readonly string[] }
  | { readonly type: 'fixed'; readonly name: string; readonly size: number }
  | {
      readonly type: 'record';
      readonly name: string;
      readonly fields: readonly { readonly name: string; readonly type: ReaderSchema }[];
    };

/** Makes of what the reader gives (not null) what JSON would have given. May change it in place. */
export type Convert = (value: unknown) => unknown;

export interface TranslatedSchema {
  readonly connect: ConnectSchema;
  readonly reader: ReaderSchema;
  /** Null where the reader's value is already right. */
  readonly convert: Convert | null;
}

/** Throws a Problem, RECORD_CORRUPT, for a schema that AvroData does not write. */
export function translateAvroSchema(json: unknown): TranslatedSchema {
  return new Translation().translate(json, '');
}

const PRIMITIVES: Readonly<Record<string, ConnectType>> = {
  boolean: 'boolean',
  int: 'int32',
  long: 'int64',
  float: 'float',
  double: 'double',
  string: 'string',
  bytes: 'bytes',
};

/** Names that the reader takes, and that are no trap of JavaScript's objects. */
const PLAIN_NAME = /^(?!__proto__$)[A-Za-z_][A-Za-z0-9_]*$/;
const SYMBOL = /^[A-Za-z_][A-Za-z0-9_]*$/;

type Json = Readonly<Record<string, unknown>>;

class Translation {
  /** By full name; null while the type is being read. */
  readonly #named = new Map<string, TranslatedSchema | null>();
  #count = 0;

  translate(json: unknown, namespace: string): TranslatedSchema {
    if (typeof json === 'string') return this.#byName(json, namespace);
    if (Array.isArray(json)) return this.#union(json, namespace);
    if (!isObject(json)) throw corrupt('a type is not a name, an object or a list');
    const { type } = json;
    if (typeof type !== 'string') return annotate(this.translate(type, namespace), json);
    switch (type) {
      case 'record':
        return this.#record(json, namespace);
      case 'array':
        return annotate(this.#array(json, namespace), json);
      case 'map':
        return annotate(this.#map(json, namespace), json);
      case 'enum':
      case 'fixed':
        return this.#leaf(json, type, namespace);
      default:
        return annotate(this.#byName(type, namespace), json);
    }
  }

  #byName(name: string, namespace: string): TranslatedSchema {
    const primitive = Object.hasOwn(PRIMITIVES, name) ? PRIMITIVES[name] : undefined;
    if (primitive !== undefined) {
      return { connect: { type: primitive }, reader: name, convert: null };
    }
    const known = this.#named.get(fullName(name, namespace)) ?? this.#named.get(name);
    if (known === undefined || known === null) {
      throw corrupt(known === null ? 'a type holds itself' : 'a type is not defined');
    }
    return known;
  }

  /** Connect knows optional types only: null and one other. */
  #union(branches: readonly unknown[], namespace: string): TranslatedSchema {
    const others = branches.filter((branch) => branch !== 'null');
    if (others.length !== 1 || branches.length > 2) {
      throw corrupt('a union is not of null and one other type');
    }
    const inner = this.translate(others[0], namespace);
    const reader = branches.map((branch) => (branch === 'null' ? branch : inner.reader));
    const optional = branches.length > others.length;
    return { ...inner, ...(optional && { connect: { ...inner.connect, optional } }), reader };
  }

  #record(json: Json, enclosing: string): TranslatedSchema {
    const { name, namespace, fields } = named(json, enclosing);
    if (!Array.isArray(fields)) throw corrupt('a record has no fields');
    this.#named.set(name, null);
    const readerName = this.#newName();
    const parts = (fields as readonly unknown[]).map((field, i) => {
      if (!isObject(field) || typeof field['name'] !== 'string') {
        throw corrupt('a field of a record has no name');
      }
      const plain = PLAIN_NAME.test(field['name']);
      const type = this.translate(field['type'], namespace);
      return { name: field['name'], alias: plain ? field['name'] : `${readerName}f${i}`, type };
    });
    const full: TranslatedSchema = {
      connect: annotated(
        {
          type: 'struct',
          fields: parts.map((part): ConnectField => ({ ...part.type.connect, field: part.name })),
        },
        json,
      ),
      reader: {
        type: 'record',
        name: readerName,
        fields: parts.map((part) => ({ name: part.alias, type: part.type.reader })),
      },
      convert: recordConvert(parts),
    };
    this.#named.set(name, { ...full, reader: readerName });
    return full;
  }

  #array(json: Json, namespace: string): TranslatedSchema {
    const items = this.translate(json['items'], namespace);
    const reader: ReaderSchema = { type: 'array', items: items.reader };
    const entry = mapEntry(json['items'], items.connect);
    if (entry !== null) {
      const pairs = entriesConvert(items.convert);
      const texts = entry === 'string';
      return { connect: { type: 'map' }, reader, convert: texts ? asObjectOf(pairs) : pairs };
    }
    const { convert } = items;
    return {
      connect: { type: 'array', items: items.connect },
      reader,
      convert: convert === null ? null : (value) => elements(value).map(orNull(convert)),
    };
  }

  #map(json: Json, namespace: string): TranslatedSchema {
    const values = this.translate(json['values'], namespace);
    const entry: ReaderSchema = {
      type: 'record',
      name: this.#newName(),
      fields: [
        { name: 'key', type: 'string' },
        { name: 'value', type: values.reader },
      ],
    };
    const { convert } = values;
    const inEntry = convert === null ? null : recordConvert([{ ...VALUE, type: values }]);
    return {
      connect: { type: 'map' },
      reader: { type: 'array', items: entry },
      convert: asObjectOf(entriesConvert(inEntry)),
    };
  }

  #leaf(json: Json, type: 'enum' | 'fixed', enclosing: string): TranslatedSchema {
    const { name } = named(json, enclosing);
    const readerName = this.#newName();
    const { symbols, size } = json;
    let leaf: TranslatedSchema;
    if (type === 'fixed') {
      if (typeof size !== 'number') throw corrupt('a fixed type has no size');
      const reader: ReaderSchema = { type, name: readerName, size };
      leaf = { connect: annotated({ type: 'bytes' }, json), reader, convert: null };
    } else {
      const texts = Array.isArray(symbols) ? (symbols as readonly unknown[]) : [];
      const known = texts.filter((text): text is string => typeof text === 'string');
      if (known.length === 0 || known.length < texts.length || !known.every(isSymbol)) {
        throw corrupt('an enum has no symbols');
      }
      const reader: ReaderSchema = { type, name: readerName, symbols: known };
      leaf = { connect: annotated({ type: 'string' }, json), reader, convert: null };
    }
    this.#named.set(name, { ...leaf, reader: readerName });
    return leaf;
  }

  #newName(): string {
    this.#count += 1;
    return `t${this.#count}`;
  }
}

const VALUE = { name: 'value', alias: 'value' } as const;

function isSymbol(text: string): boolean {
  return SYMBOL.test(text);
}

function fullName(name: string, namespace: string): string {
  return name.includes('.') || namespace === '' ? name : `${namespace}.${name}`;
}

/** A named type's full name, and the namespace of what lies in it. */
function named(
  json: Json,
  enclosing: string,
): { readonly name: string; readonly namespace: string; readonly fields: unknown } {
  const { name, namespace, fields } = json;
  if (typeof name !== 'string') throw corrupt('a type has no name');
  const full = fullName(name, typeof namespace === 'string' ? namespace : enclosing);
  return { name: full, namespace: full.slice(0, Math.max(0, full.lastIndexOf('.'))), fields };
}

function annotate(schema: TranslatedSchema, json: Json): TranslatedSchema {
  return { ...schema, connect: annotated(schema.connect, json) };
}

/** What AvroData keeps of Connect's schema beside the bytes. */
function annotated(schema: ConnectSchema, json: Json): ConnectSchema {
  const { 'connect.name': name, 'connect.parameters': parameters, 'connect.type': type } = json;
  return {
    ...schema,
    ...((type === 'int8' || type === 'int16') && { type }),
    ...(typeof name === 'string' && { name }),
    ...(isObject(parameters) && {
      parameters: Object.fromEntries(
        Object.entries(parameters).map(([key, value]) => [
          key,
          typeof value === 'string' ? value : '',
        ]),
      ),
    }),
  };
}

/** The type of the keys, where the items of an array are the entries of a Connect map. */
function mapEntry(json: unknown, items: ConnectSchema): ConnectType | null {
  const isEntry =
    isObject(json) &&
    (json['connect.internal.type'] === 'MapEntry' ||
      (json['name'] === 'MapEntry' && json['namespace'] === 'io.confluent.connect.avro'));
  if (!isEntry) return null;
  const key = items.fields?.find((field) => field.field === 'key');
  if (key === undefined || items.fields?.length !== 2) throw corrupt('a map entry has no key');
  return key.type;
}

interface Part {
  readonly name: string;
  readonly alias: string;
  readonly type: TranslatedSchema;
}

function recordConvert(parts: readonly Part[]): Convert | null {
  const changed = parts.filter((part) => part.type.convert !== null || part.alias !== part.name);
  if (changed.length === 0) return null;
  return (value) => {
    const row = value as Record<string, unknown>;
    for (const { name, alias, type } of changed) {
      const sent = row[alias];
      const converted = sent === null || type.convert === null ? sent : type.convert(sent);
      if (alias === name) {
        row[name] = converted;
        continue;
      }
      Reflect.deleteProperty(row, alias);
      const own = { value: converted, enumerable: true, writable: true, configurable: true };
      Object.defineProperty(row, name, own);
    }
    return row;
  };
}

function orNull(convert: Convert): Convert {
  return (value) => (value === null ? null : convert(value));
}

function elements(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw corrupt('the reader gave no array');
  return value;
}

/** `[[key, value], …]`, as JSON has maps whose keys are no texts. */
function entriesConvert(
  inEntry: Convert | null,
): (value: unknown) => (readonly [unknown, unknown])[] {
  return (value) =>
    elements(value).map((item) => {
      const entry = (inEntry === null ? item : inEntry(item)) as { key: unknown; value: unknown };
      return [entry.key, entry.value];
    });
}

function asObjectOf(pairs: (value: unknown) => (readonly [unknown, unknown])[]): Convert {
  return (value) => Object.fromEntries(pairs(value).map(([key, item]) => [String(key), item]));
}

function corrupt(what: string): Problem {
  return new Problem(
    'RECORD_CORRUPT',
    `the registered schema is not one of Kafka Connect: ${what}`,
  );
}
