import { tableName } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { EventColumn, EventTableSchema } from '../../../schema/event-schema.ts';
import type { PlanStatement, ShadowPlan } from '../../../schema/shadow-plan.ts';
import { eventColumnType } from './event-column-type.ts';
import { literal, quote } from './introspect-object.ts';

const HSTORE = 'CREATE EXTENSION IF NOT EXISTS hstore SCHEMA public';

/**
 * Tables as their events describe them: columns with the narrowest type that surely holds every
 * value, NOT NULL, and the key. Nothing else is in the events, and `notCarried` says so.
 * Errors: TYPE_UNKNOWN naming table and column, for a type with no safe counterpart.
 */
export function planFromEvents(schemas: readonly EventTableSchema[]): ShadowPlan {
  const namespaces = [...new Set(schemas.map(({ table }) => table.schema))].sort();
  const needsHstore = schemas.some(({ columns }) =>
    columns.some((column) => column.connectType === 'map' || column.element?.connectType === 'map'),
  );
  const statements: PlanStatement[] = namespaces.map((name) => ({
    sql: `CREATE SCHEMA IF NOT EXISTS ${quote(name)}`,
    what: `schema ${name}`,
    optional: false,
  }));
  if (needsHstore) {
    const sql = `CREATE SCHEMA IF NOT EXISTS public; ${HSTORE}`;
    statements.push({ sql, what: 'extension hstore', optional: false });
  }
  for (const schema of schemas) {
    const what = `table ${tableName(schema.table)}`;
    statements.push({ sql: createTable(schema), what, optional: false });
  }
  return {
    statements,
    notCarried: [
      {
        what: 'defaults, checks, foreign keys, further indexes, views, routines, sequences',
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
  return `CREATE TABLE ${quote(table.schema, table.name)} (\n  ${columns.join(',\n  ')}\n)`;
}

function columnSql(column: EventColumn, { table, sourceName }: EventTableSchema): string {
  const type = eventColumnType(column, sourceName);
  if (type === null) {
    const name = column.semanticName ?? column.connectType;
    throw new UnderstudyError('TYPE_UNKNOWN', `no column type is known to hold ${literal(name)}`, {
      table: tableName(table),
      column: column.name,
    });
  }
  return `${quote(column.name)} ${type}${column.optional ? '' : ' NOT NULL'}`;
}
