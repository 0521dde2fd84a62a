import { tableName } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { EventColumn, EventTableSchema } from '../../../schema/event-schema.ts';
import type { ShadowPlan } from '../../../schema/shadow-plan.ts';
import { quote } from '../session/names.ts';
import { eventColumnType } from './event-column-type.ts';

/**
 * Tables as their events describe them: columns with a type that surely holds every value, NOT
 * NULL, and the key. Nothing else is in the events, and `notCarried` says so.
 * Errors: TYPE_UNKNOWN naming table and column, for a type with no safe counterpart;
 * COLUMN_UNKNOWN if the events’ key is not in their rows.
 */
export function planFromEvents(schemas: readonly EventTableSchema[]): ShadowPlan {
  return {
    statements: schemas.map((schema) => ({
      sql: createTable(schema),
      what: `table ${tableName(schema.table)}`,
      optional: false,
    })),
    notCarried: [
      {
        what: 'defaults, checks, foreign keys, further indexes, views, character sets',
        why: 'events do not tell of them; use trunk.schema: production or a file',
      },
      ...schemas
        .filter(({ key }) => key.length === 0)
        .map(({ table }) => ({ what: `key of table ${tableName(table)}`, why: 'it has none' })),
    ],
    tables: schemas.map(({ table }) => table),
  };
}

function createTable(schema: EventTableSchema): string {
  const { table, key } = schema;
  const names = new Set(schema.columns.map((column) => column.name));
  const missing = key.find((name) => !names.has(name));
  if (missing !== undefined) {
    throw new UnderstudyError('COLUMN_UNKNOWN', 'the events’ key is not in their rows', {
      table: tableName(table),
      column: missing,
    });
  }
  const columns = schema.columns.map((column) => columnSql(column, schema));
  if (key.length > 0) columns.push(`PRIMARY KEY (${key.map((name) => quote(name)).join(', ')})`);
  return `CREATE TABLE ${quote(table.name)} (\n  ${columns.join(',\n  ')}\n) ENGINE=InnoDB`;
}

function columnSql(column: EventColumn, { table, key, sourceName }: EventTableSchema): string {
  const type = eventColumnType(column, {
    mariadb: sourceName?.includes('.mariadb.') === true,
    key: key.includes(column.name),
  });
  if (type === null) {
    const name = column.semanticName ?? column.connectType;
    throw new UnderstudyError('TYPE_UNKNOWN', `no column type is known to hold '${name}'`, {
      table: tableName(table),
      column: column.name,
    });
  }
  // A timestamp without NULL or NOT NULL gets one by the server's mood.
  return `${quote(column.name)} ${type} ${column.optional ? 'NULL' : 'NOT NULL'}`;
}
