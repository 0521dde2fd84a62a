/**
 * How arrays of PostgreSQL arrive: element by element, as each element would, which the table of
 * types knows.
 */
import type { ColumnType } from '../../schema/table-schema.ts';
import { jsonType } from '../envelope/exact-number.ts';
import { unreadable } from '../problem.ts';
import { BITS } from './forms.ts';
import { BY_UNKNOWN_IN_ARRAY, ONLY_NULL, placeholderOfArray } from './placeholders.ts';
import {
  bareTypeName,
  decoderIn,
  form,
  refuse,
  type FormLoss,
  type Sent,
  type TypeEntry,
  type ValueDecoder,
} from './type-table.ts';

/** What an array asks of the table that it is an entry of. */
export interface Elements {
  readonly entryOf: (element: ColumnType) => TypeEntry;
  /** The connector does not know the type: its values are the bytes of their text. */
  readonly isUnknown: (element: ColumnType) => boolean;
}

/** What Java prints for an array that the connector could not convert. */
const JAVA_ARRAY = /^\[L?[\w.]+;?@[0-9a-f]+$/;

/** Elements of which the connector cannot send a NULL. */
const STRICT_ELEMENTS: ReadonlySet<string> = new Set(['ltree', 'tsvector', 'isbn']);

export function arrayEntry(elements: Elements): TypeEntry {
  return {
    forms: {
      array: form(
        (sent) => arrayDecoder(elements, sent),
        'array-bounds',
        'array-dimensions',
        ofElements('array-time', ({ kind }) => kind === 'time' || kind === 'timetz'),
        ofElements(
          'array-null-element',
          (element) =>
            element.kind === 'enum' ||
            STRICT_ELEMENTS.has(bareTypeName(element)) ||
            elements.isUnknown(element),
        ),
      ),
      [BITS]: form(({ type }) => refuse(`the connector cannot send ${type.sql}`), 'array-bits'),
    },
    expected: ({ element }, modes) => {
      if (element === undefined) return { type: 'array' };
      if (element.kind === 'bits') return { type: 'bytes', name: BITS };
      return { type: 'array', items: elements.entryOf(element).expected(element, modes) };
    },
    unavailable: ({ schema, type: { element, domainOf } }) => {
      // A domain's elements have a kind, but are sent as bytes all the same.
      if (element !== undefined && elements.isUnknown(element)) return BY_UNKNOWN_IN_ARRAY;
      // The connector picks the placeholder by the type's name, and knows none of a domain's.
      return domainOf === undefined ? placeholderOfArray(schema.items, element) : ONLY_NULL;
    },
  };
}

function arrayDecoder(elements: Elements, { schema, type, ...rest }: Sent): ValueDecoder {
  const { element } = type;
  if (schema.items === undefined || element === undefined) {
    return refuse(`cannot read an array without elements into ${type.sql}`);
  }
  const sent = { schema: schema.items, type: element, ...rest };
  const decode = decoderIn(elements.entryOf(element), sent);
  return (array, exactness) => {
    if (!Array.isArray(array)) throw unreadable(`expected an array, found ${jsonType(array)}`);
    return array.map((item: unknown) => {
      if (item === null) return null;
      if (typeof item === 'string' && item.startsWith('[L') && JAVA_ARRAY.test(item)) {
        throw unreadable('an array of more than one dimension, which the connector cannot send');
      }
      return decode(item, exactness);
    });
  };
}

function ofElements(id: FormLoss['id'], isSuch: (element: ColumnType) => boolean): FormLoss {
  return { id, applies: ({ element }) => element !== undefined && isSuch(element) };
}
