import type { ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import type { SchemaCatalogue } from '../../../schema/table-schema.ts';
import { tableFinding as finding } from '../../sql/table-finding.ts';
import type { Diagnosis, StreamFacts } from '../../dialect.ts';
import { readCatalogue } from '../catalogue/catalogue.ts';
import { quote } from '../schema/introspect-object.ts';
import { columnTraps, type ColumnFacts } from './production-diagnosis-columns.ts';

interface TableFacts {
  readonly schema: string;
  readonly name: string;
  readonly found: boolean;
  readonly mayRead: boolean;
  readonly rowSecurity: boolean;
  readonly unlogged: boolean;
  readonly primaryKey: boolean;
  /** d default, n nothing, f full, i index. */
  readonly identity: 'd' | 'n' | 'f' | 'i';
  readonly identityIsKey: boolean;
  /** Columns of the primary key that production generates. */
  readonly generatedKey: readonly string[];
  /** Of its columns, by name: as declared, 0 for what is no array. */
  readonly dimensions: Readonly<Record<string, number>>;
  readonly publications: readonly string[];
  readonly truncateMissing: boolean;
  readonly changesMissing: boolean;
  readonly leavesPublished: boolean;
  readonly rowsFiltered: boolean;
  /** Columns that a publication's column list leaves out. */
  readonly unpublished: readonly string[];
}

const QUERY = `
SELECT w.schema, w.name, c.oid IS NOT NULL AS found,
  coalesce(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), false)
    AS "mayRead",
  coalesce(row_security_active(c.oid), false) AS "rowSecurity",
  coalesce(c.relpersistence = 'u', false) AS unlogged,
  EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) AS "primaryKey",
  coalesce(c.relreplident::text, 'd') AS identity,
  EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisreplident)
    AS "identityIsKey",
  ARRAY(SELECT a.attname::text FROM pg_index i
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])
    WHERE i.indrelid = c.oid AND i.indisprimary AND a.attgenerated <> '') AS "generatedKey",
  coalesce((SELECT jsonb_object_agg(a.attname, a.attndims) FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '{}') AS dimensions,
  ARRAY(SELECT DISTINCT p.pubname::text FROM published p WHERE p.root = c.oid ORDER BY 1)
    AS publications,
  EXISTS (SELECT FROM published p WHERE p.root = c.oid AND NOT p.pubtruncate)
    AS "truncateMissing",
  EXISTS (SELECT FROM published p WHERE p.root = c.oid
    AND NOT (p.pubinsert AND p.pubupdate AND p.pubdelete)) AS "changesMissing",
  EXISTS (SELECT FROM published p WHERE p.root = c.oid AND c.relkind = 'p' AND NOT p.pubviaroot)
    AS "leavesPublished",
  EXISTS (SELECT FROM published p WHERE p.root = c.oid AND p.filter IS NOT NULL)
    AS "rowsFiltered",
  ARRAY(SELECT a.attname::text FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
      AND EXISTS (SELECT FROM published p WHERE p.leaf = c.oid AND p.columns IS NOT NULL
        AND NOT p.columns @> to_jsonb(a.attname::text)) ORDER BY a.attnum) AS unpublished
FROM unnest($1::text[], $2::text[]) AS w(schema, name)
LEFT JOIN pg_namespace n ON n.nspname = w.schema
LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p')
ORDER BY 1, 2`;

/**
 * Published tables, with the partitioned tables above and the partitions below them: of the
 * publication named $3, or of all if it is null. Lists of columns and filters of rows came with
 * PostgreSQL 15.
 */
const PUBLISHED = `WITH published AS MATERIALIZED (
  SELECT p.pubname, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot,
    family.relid AS root, pc.oid AS leaf, to_jsonb(pt)->'attnames' AS columns,
    to_jsonb(pt)->>'rowfilter' AS filter
  FROM pg_publication p
  JOIN pg_publication_tables pt ON pt.pubname = p.pubname
  JOIN pg_namespace pn ON pn.nspname = pt.schemaname
  JOIN pg_class pc ON pc.relnamespace = pn.oid AND pc.relname = pt.tablename
  CROSS JOIN LATERAL (SELECT pc.oid UNION SELECT a.relid FROM pg_partition_ancestors(pc.oid) a
    UNION SELECT t.relid FROM pg_partition_tree(pc.oid) t) family(relid)
  WHERE $3::text IS NULL OR p.pubname = $3)`;

/**
 * What of each table keeps its changes from arriving whole. One finding per table and trap; a
 * table with none of them has a single `ok`.
 */
export async function diagnoseTables(
  client: ClientBase,
  tables: readonly TableId[],
  stream: StreamFacts | null,
): Promise<readonly Diagnosis[]> {
  const { rows } = await client.query<TableFacts>(`${PUBLISHED}${QUERY}`, [
    tables.map((table) => table.schema),
    tables.map((table) => table.name),
    stream?.publication?.name ?? null,
  ]);
  const catalogue = await readCatalogue(client);
  return rows.flatMap((facts) => {
    if (!facts.found) {
      const cure = 'Check tables.include, or that the account’s database is the right one.';
      return [finding(facts, 'missing', 'error', 'does not exist', cure)];
    }
    const findings = [
      ...access(facts),
      ...identity(facts),
      ...columns(facts, stored(facts, catalogue), stream),
      ...published(facts, stream),
    ];
    return findings.length > 0 ? findings : [finding(facts, 'ready', 'ok', 'is ready', null)];
  });
}

function access(facts: TableFacts): Diagnosis[] {
  const name = quote(facts.schema, facts.name);
  const found: Diagnosis[] = [];
  if (!facts.mayRead) {
    const cure = `GRANT USAGE ON SCHEMA ${quote(facts.schema)}, GRANT SELECT ON ${name} TO it.`;
    found.push(finding(facts, 'select', 'error', 'may not be read by the account', cure));
  }
  if (facts.rowSecurity) {
    const cure = 'Give the account BYPASSRLS; otherwise drift checks refuse the table.';
    found.push(finding(facts, 'row-security', 'error', 'shows the account a part only', cure));
  }
  return found;
}

const fullIdentity = (facts: TableFacts): string =>
  `ALTER TABLE ${quote(facts.schema, facts.name)} REPLICA IDENTITY FULL.`;

function identity(facts: TableFacts): Diagnosis[] {
  const full = fullIdentity(facts);
  const found: Diagnosis[] = [];
  // By an index, without a primary key: that index is the key, here and for the connector.
  if (!facts.primaryKey && facts.identity !== 'f' && facts.identity !== 'i') {
    const cure = `Give it a primary key, or ${full} Or exclude it with tables.exclude.`;
    const message = 'has neither a primary key nor whole old rows: its changes name no row';
    found.push(finding(facts, 'key', 'error', message, cure));
  }
  if (facts.generatedKey.length > 0) {
    const message = `has a key that the stream lacks, since it is generated: ${facts.generatedKey.join(', ')}`;
    const cure = 'Make the key of columns that are stored, or exclude it with tables.exclude.';
    found.push(finding(facts, 'generated-key', 'error', message, cure));
  }
  switch (facts.identity) {
    case 'n':
      found.push(
        finding(
          facts,
          'identity',
          'error',
          'has REPLICA IDENTITY NOTHING: production refuses its updates and deletes, or hides them',
          full,
        ),
      );
      break;
    case 'i':
      if (facts.identityIsKey || !facts.primaryKey) break;
      found.push(
        finding(
          facts,
          'identity',
          'error',
          'has REPLICA IDENTITY USING INDEX, not the key: deletes and key changes name wrong rows',
          full,
        ),
      );
      break;
    case 'd':
    case 'f':
      break;
  }
  return found;
}

/** What the log has of a table: generated columns are not in it. */
function stored(facts: TableFacts, catalogue: SchemaCatalogue): readonly ColumnFacts[] {
  const { columns: all = [] } = catalogue.get(tableName(facts)) ?? {};
  return all
    .filter(({ generated }) => generated === 'no')
    .map((schema) => ({ schema, dimensions: facts.dimensions[schema.name] ?? 0 }));
}

function columns(
  facts: TableFacts,
  of: readonly ColumnFacts[],
  stream: StreamFacts | null,
): Diagnosis[] {
  const full = facts.identity === 'f' ? null : fullIdentity(facts);
  return columnTraps(of, stream, full).map(({ id, level, message, cure }) =>
    finding(facts, id, level, message, cure),
  );
}

function published(facts: TableFacts, stream: StreamFacts | null): Diagnosis[] {
  const found: Diagnosis[] = [];
  const add = (id: string, level: Diagnosis['level'], message: string, cure: string): void => {
    found.push(finding(facts, id, level, message, cure));
  };
  if (facts.unlogged) {
    add('unlogged', 'error', 'is unlogged: its changes are in no log', 'ALTER TABLE … SET LOGGED.');
  }
  if (facts.publications.length === 0) {
    // Whoever makes its publication itself has not done so yet.
    if (stream?.publication?.madeByConnector === true && !stream.started) return found;
    const cure = 'Add it to the connector’s publication, unless the connector makes that itself.';
    const message = 'is in no publication: its changes are not sent';
    add('publication', 'warning', message, cure);
    return found;
  }
  const names = facts.publications.join(', ');
  const set = (option: string): string => `ALTER PUBLICATION ${names} SET (${option}).`;
  if (facts.changesMissing) {
    const cure = set(`publish = 'insert, update, delete, truncate'`);
    add('publish', 'error', 'is in a publication that leaves out changes', cure);
  } else if (facts.truncateMissing) {
    const cure = set(`publish = 'insert, update, delete, truncate'`);
    add('truncate', 'warning', 'is in a publication that leaves out TRUNCATE', cure);
  }
  if (facts.leavesPublished) {
    const message =
      'is partitioned, its changes arrive under the names of its partitions, and the snapshot ' +
      'holds its rows twice';
    const made = 'publish.via.partition.root=true in a connector that makes its publication';
    const now = set('publish_via_partition_root = true').slice(0, -1);
    add('partitions', 'error', message, `${now}; set ${made}.`);
  }
  const anew = `Publish the whole table: ALTER PUBLICATION ${names} SET TABLE … without it.`;
  if (facts.rowsFiltered) {
    add('row-filter', 'error', 'is published with a filter: some of its rows are not sent', anew);
  }
  if (facts.unpublished.length > 0) {
    const message = `is published without columns: ${facts.unpublished.join(', ')}`;
    add('column-list', 'error', message, anew);
  }
  return found;
}
