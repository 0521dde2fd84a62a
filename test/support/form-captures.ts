import type { ColumnType, SchemaCatalogue, TableSchema } from '../../src/schema/table-schema.ts';
import { tableName } from '../../src/change/table-id.ts';

const TEXT: ColumnType = { sql: 'text', kind: 'text' };
const INTEGER: ColumnType = { sql: 'integer', kind: 'int32' };

function table(
  name: string,
  key: readonly string[],
  columns: Readonly<Record<string, ColumnType>>,
): TableSchema {
  return {
    id: { schema: 'public', name },
    columns: Object.entries(columns).map(([column, type]) => ({
      name: column,
      type,
      nullable: !key.includes(column),
      generated: 'no',
      identity: 'no',
      toastable: type.kind === 'text' || type.kind === 'bytes' || type.kind === 'numeric',
    })),
    key,
    uniques: [],
    foreignKeys: [],
    partitioned: false,
  };
}

/** The tables of the captures `pg.forms.*`; `nokey` and `full_t` have REPLICA IDENTITY FULL. */
export const FORMS_CATALOGUE: SchemaCatalogue = new Map(
  [
    table('item', ['id'], {
      id: INTEGER,
      v: TEXT,
      n: { sql: 'numeric(10,2)', kind: 'numeric', precision: 10, scale: 2 },
      big: { sql: 'bigint', kind: 'int64' },
      b: { sql: 'bytea', kind: 'bytes' },
    }),
    table('pair', ['b', 'a'], { b: INTEGER, a: INTEGER, v: TEXT }),
    table('nokey', [], { a: INTEGER, v: TEXT }),
    table('full_t', ['id'], { id: INTEGER, v: TEXT }),
    table('Od d', ['id'], { id: INTEGER, 'x y': TEXT }),
  ].map((schema) => [tableName(schema.id), schema]),
);

type Rows = Readonly<Record<string, readonly Readonly<Record<string, unknown>>[]>>;

/**
 * What the captured statements leave in the tables with a key. `item` was emptied by a truncate and
 * a last delete.
 */
export const FORMS_ROWS: Rows = {
  'public.item': [],
  'public.pair': [],
  'public.full_t': [{ id: '2', v: 'h' }],
  'public.Od d': [],
};
