/** Records of a connector's schema-change topic. */
import type { LogOffset } from '../change/position.ts';
import type { SchemaChangeRecord, ToldColumn, ToldTable } from '../change/table-change.ts';
import type { TableId } from '../change/table-id.ts';
import type { Connector } from './connectors/connector.ts';
import { isObject } from './envelope/exact-number.ts';

/** What of the record can be read: a table that it does not describe as Debezium does is left out. */
export function schemaChange(
  payload: Readonly<Record<string, unknown>>,
  { at, connector }: { readonly at: LogOffset; readonly connector: Connector },
  eventTimeMs: number | null,
): SchemaChangeRecord {
  const { databaseName, ddl, source, tableChanges } = payload;
  const taken = isObject(source) ? source['snapshot'] : null;
  const snapshot = typeof taken === 'string' ? taken !== 'false' : taken === true;
  const tables = Array.isArray(tableChanges) ? tableChanges.flatMap(toldTable) : [];
  return {
    kind: 'schema-change',
    at,
    source: connector.position(isObject(source) ? source : {}),
    eventTimeMs,
    database: typeof databaseName === 'string' && databaseName !== '' ? databaseName : null,
    ddl: typeof ddl === 'string' ? ddl : '',
    snapshot,
    tables,
  };
}

const KINDS = new Map<unknown, ToldTable['kind']>([
  ['CREATE', 'created'],
  ['ALTER', 'altered'],
  ['DROP', 'dropped'],
]);

function toldTable(change: unknown): readonly ToldTable[] {
  if (!isObject(change)) return [];
  const kind = KINDS.get(change['type']);
  const id = typeof change['id'] === 'string' ? toldId(change['id']) : null;
  if (kind === undefined || id === null) return [];
  if (kind === 'dropped') return [{ table: id, kind, columns: [], key: [] }];
  const table = change['table'];
  if (!isObject(table)) return [];
  const { columns, primaryKeyColumnNames: key } = table;
  if (!Array.isArray(columns)) return [];
  return [
    {
      ...{ table: id, kind, columns: columns.flatMap(toldColumn) },
      key: Array.isArray(key) ? key.filter((name) => typeof name === 'string') : [],
    },
  ];
}

function toldColumn(column: unknown): readonly ToldColumn[] {
  if (!isObject(column) || typeof column['name'] !== 'string') return [];
  const value = column['defaultValueExpression'];
  return [
    {
      ...{ name: column['name'], nullable: column['optional'] !== false },
      default: typeof value === 'string' ? value : null,
    },
  ];
}

/** `"shop"."orders"`; null if it is of another form. */
function toldId(id: string): TableId | null {
  const parts = Array.from(id.matchAll(/"((?:[^"]|"")*)"/g), ([, part = '']) =>
    part.replaceAll('""', '"'),
  );
  const [schema, name, ...more] = parts;
  return schema === undefined || name === undefined || more.length > 0 ? null : { schema, name };
}
