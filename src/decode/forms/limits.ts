/** What a form of records cannot carry, however exactly it is read. */
import { unreachable } from '../../util/assert.ts';
import type { FlatDeletes, RecordForm } from './form.ts';

export interface FormLimit {
  readonly code:
    | 'no-transactions'
    | 'no-old-rows'
    | 'no-operation'
    | 'no-truncates'
    | 'no-deletes'
    | 'no-keyless-deletes'
    | 'nulls-as-defaults'
    | 'no-messages';
  /** What is missing, what follows, and the setting that would help; without a full stop. */
  readonly text: string;
}

/** `deletes` is source.modes.deletes: null where it is not declared, and then the default. */
export function formLimits(form: RecordForm, deletes: FlatDeletes | null): readonly FormLimit[] {
  switch (form) {
    case 'debezium':
      return [];
    case 'cloudevents':
      return [
        {
          code: 'no-transactions',
          text:
            'CloudEvents carry no boundaries of transactions: the guarantee is per key; ' +
            'use the JSON or Avro converter for whole transactions',
        },
        {
          code: 'no-messages',
          text: 'CloudEvents carry no logical messages and no heartbeats',
        },
      ];
    case 'flat':
      return flatLimits(deletes ?? 'tombstone');
    default:
      return unreachable(form);
  }
}

function flatLimits(deletes: FlatDeletes): readonly FormLimit[] {
  const rewritten = deletes === 'rewrite' || deletes === 'rewrite-with-tombstone';
  return [
    {
      code: 'no-transactions',
      text:
        'flattened records carry no transactions: the guarantee is per key; ' +
        'take ExtractNewRecordState out of the connector for whole transactions',
    },
    {
      code: 'no-old-rows',
      text: 'flattened records carry no old rows: updates of tables without a key are refused',
    },
    {
      code: 'no-operation',
      text:
        'an insert cannot be told from an update, unless the flattening transform’s add.fields or ' +
        'add.headers has op: a NULL or a text in it that may stand for a large value that was not ' +
        'sent makes its row wait for one',
    },
    {
      code: 'no-truncates',
      text: 'the flattening transform drops truncates: their rows stay in the shadow',
    },
    ...deleteLimits(deletes),
    ...(rewritten
      ? [
          {
            code: 'nulls-as-defaults' as const,
            text:
              'where it adds `__deleted`, the flattening transform sends a column’s default for ' +
              'NULL, unless its replace.null.with.default=false',
          },
        ]
      : []),
  ];
}

function deleteLimits(deletes: FlatDeletes): readonly FormLimit[] {
  switch (deletes) {
    case 'drop':
      return [
        {
          code: 'no-deletes',
          text:
            'delete.tombstone.handling.mode=drop drops deletes: their rows stay in the shadow; ' +
            'use rewrite or tombstone',
        },
      ];
    case 'tombstone':
    case 'delete-to-tombstone':
      return [
        {
          code: 'no-keyless-deletes',
          text:
            `delete.tombstone.handling.mode=${deletes} says nothing of deleted rows without a ` +
            'key: such a delete is refused; use rewrite',
        },
      ];
    case 'rewrite':
    case 'rewrite-with-tombstone':
      return [];
    default:
      return unreachable(deletes);
  }
}
