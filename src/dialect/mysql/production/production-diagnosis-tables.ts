import { tableName, type TableId } from '../../../change/table-id.ts';
import { tableFinding as finding } from '../../sql/table-finding.ts';
import type { Diagnosis } from '../../dialect.ts';
import { readTables } from '../catalogue/catalogue.ts';
import type { Client } from '../session/client.ts';
import { logsCascades, type Flavour } from '../session/flavour.ts';

export interface DiagnosedTables {
  /** The followed database; null if production.url names none. */
  readonly database: string | null;
  /** Those to look at; empty for all that `includes` takes. */
  readonly tables: readonly TableId[];
  readonly includes: (table: TableId) => boolean;
}

interface TypeRow {
  readonly schema: string;
  readonly name: string;
  readonly column: string;
  readonly type: string;
  readonly dataType: string;
}

const SYSTEM = `('information_schema', 'mysql', 'performance_schema', 'sys')`;

/** What of the tables, and of any table on the server, keeps changes from arriving whole. */
export async function diagnoseTables(
  client: Client,
  flavour: Flavour,
  what: DiagnosedTables,
): Promise<readonly Diagnosis[]> {
  const tables = await tablesOf(client, what);
  const followed = new Set(tables.map(tableName));
  const types = await client.rows<TypeRow>(
    `SELECT TABLE_SCHEMA AS \`schema\`, TABLE_NAME AS name, COLUMN_NAME AS \`column\`,
        COLUMN_TYPE AS type, DATA_TYPE AS dataType
      FROM information_schema.COLUMNS WHERE TABLE_SCHEMA NOT IN ${SYSTEM}
        AND (DATA_TYPE IN ('inet4', 'inet6', 'year') OR COLUMN_TYPE LIKE '%COMPRESSED%')
      ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION`,
  );
  const found = [
    ...databases(tables),
    ...(await keys(client, tables)),
    ...(flavour.engine === 'mariadb' ? [...stoppers(types), ...years(types, followed)] : []),
    ...(await cascades(client, followed)),
    ...unreadableNames(tables),
  ];
  if (found.length > 0) return found;
  const count = String(tables.length);
  return [{ id: 'tables.ready', level: 'ok', message: `${count} tables are ready`, cure: null }];
}

async function tablesOf(client: Client, what: DiagnosedTables): Promise<readonly TableId[]> {
  if (what.tables.length > 0) return what.tables;
  const rows = await client.rows<TableId>(
    `SELECT TABLE_SCHEMA AS \`schema\`, TABLE_NAME AS name FROM information_schema.TABLES
      WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND TABLE_SCHEMA NOT IN ${SYSTEM}
      ORDER BY TABLE_SCHEMA, TABLE_NAME`,
  );
  return rows
    .map(({ schema, name }) => ({ schema, name }))
    .filter((table) => what.database === null || table.schema === what.database)
    .filter(what.includes);
}

function databases(tables: readonly TableId[]): readonly Diagnosis[] {
  const names = [...new Set(tables.map((table) => table.schema))];
  if (names.length === 1) return [];
  return [
    names.length === 0
      ? {
          id: 'tables.none',
          level: 'error',
          message: 'no table of production is to be followed, or the account sees none',
          cure: 'Check tables.include, the database in production.url, and GRANT SELECT.',
        }
      : {
          id: 'tables.databases',
          level: 'error',
          message: `tables of several databases are to be followed: ${names.join(', ')}`,
          cure: 'Name one in production.url or tables.include; one configuration follows one.',
        },
  ];
}

/**
 * The binlog has the names of tables as bytes, which the connector reads by the character set of
 * its Java (before 18: the locale's), and passes over tables that it does not know.
 */
function unreadableNames(tables: readonly TableId[]): readonly Diagnosis[] {
  return tables
    .filter(({ schema, name }) => /[^\0-\x7f]/.test(schema + name))
    .map((table) =>
      finding(
        table,
        'name',
        'warning',
        'has a name beyond ASCII: a Connect worker whose Java has no locale passes over all its changes in silence, and nobody can ask it',
        'Start Connect’s Java with -Dfile.encoding=UTF-8 (KAFKA_OPTS), or rename the table.',
      ),
    );
}

async function keys(client: Client, tables: readonly TableId[]): Promise<readonly Diagnosis[]> {
  const found: Diagnosis[] = [];
  for (const schema of new Set(tables.map((table) => table.schema))) {
    const { catalogue } = await readTables(client, schema, schema);
    for (const id of tables.filter((table) => table.schema === schema)) {
      const table = catalogue.get(tableName(id));
      if (table === undefined) {
        const cure = 'Check tables.include, and GRANT SELECT on it.';
        found.push(finding(id, 'missing', 'error', 'does not exist, or may not be seen', cure));
      } else if (table.key.length === 0) {
        const cure = 'Give it a primary key, or a unique key over whole NOT NULL columns.';
        const message = 'has no key: every batch that removes rows of it reads the whole table';
        found.push(finding(id, 'key', 'warning', message, cure));
      }
    }
  }
  return found;
}

/**
 * Foreign keys that change rows by themselves, which the binlog does not hold: MariaDB's, and MySQL's
 * where the storage engine carries them out (before 9.6, or with innodb_native_foreign_keys). The
 * applier carries them out at their parents' changes (order/cascades.ts), as far as those are followed.
 */
async function cascades(
  client: Client,
  followed: ReadonlySet<string>,
): Promise<readonly Diagnosis[]> {
  if (await logsCascades(client)) return [];
  const rows = await client.rows<TableId & { readonly key: string; readonly parent: string }>(
    `SELECT CONSTRAINT_SCHEMA AS \`schema\`, TABLE_NAME AS name, CONSTRAINT_NAME AS \`key\`,
        CONCAT(UNIQUE_CONSTRAINT_SCHEMA, '.', REFERENCED_TABLE_NAME) AS parent
      FROM information_schema.REFERENTIAL_CONSTRAINTS
      WHERE DELETE_RULE IN ('CASCADE', 'SET NULL', 'SET DEFAULT')
        OR UPDATE_RULE IN ('CASCADE', 'SET NULL', 'SET DEFAULT')
      ORDER BY 1, 2, 3`,
  );
  return rows
    .filter((row) => followed.has(tableName(row)))
    .map((row) => {
      const what = `has rows that a foreign key (${row.key}) deletes or changes by itself, which the server does not write to the binlog`;
      return followed.has(row.parent)
        ? finding(
            row,
            'cascades',
            'warning',
            `${what}; the shadow does so at the change of ${row.parent}, if transactions are kept whole`,
            'Keep consistency: transaction and provide.transaction.metadata, a shadow server that has such keys carried out as production does (innodb_native_foreign_keys), and no session with foreign_key_checks = 0 there, where nothing cascades and the binlog’s events do not say so.',
          )
        : finding(
            row,
            'cascades',
            'error',
            `${what}, when ${row.parent} changes, which is not followed`,
            `Follow ${row.parent} too, or let production delete and change such rows itself (ON DELETE RESTRICT), or exclude the table.`,
          );
    });
}

/** MariaDB writes the attribute as a comment of its own; a label of an ENUM is quoted. */
const COMPRESSED = /\/\*M!\d+ COMPRESSED\b[^']*$/;

/** Anywhere on the server, followed or not. */
function stoppers(types: readonly TypeRow[]): readonly Diagnosis[] {
  return types.flatMap((row) => {
    const what = /^inet[46]$/i.test(row.dataType)
      ? row.dataType
      : COMPRESSED.test(row.type)
        ? 'COMPRESSED'
        : null;
    if (what === null) return [];
    const message = `has a ${what} column (${row.column}), which stops the connector even where the table is excluded`;
    const cure = 'Change the column’s type on production before the connector starts.';
    return [finding(row, `stops-${what.toLowerCase()}`, 'error', message, cure)];
  });
}

function years(types: readonly TypeRow[], followed: ReadonlySet<string>): readonly Diagnosis[] {
  return types
    .filter((row) => row.dataType.toLowerCase() === 'year' && followed.has(tableName(row)))
    .map((row) =>
      finding(
        row,
        'year-zero',
        'warning',
        `has a YEAR column (${row.column}), whose year 0000 stops the connector’s snapshot`,
        'Store NULL instead of 0000, and keep it out by a CHECK.',
      ),
    );
}
