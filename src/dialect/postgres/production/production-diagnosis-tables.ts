import type { ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import type { Diagnosis } from '../../dialect.ts';
import { quote } from '../schema/introspect-object.ts';

interface TableFacts {
  readonly schema: string;
  readonly name: string;
  readonly found: boolean;
  readonly mayRead: boolean;
  readonly rowSecurity: boolean;
  readonly unlogged: boolean;
  readonly partitioned: boolean;
  readonly primaryKey: boolean;
  /** d default, n nothing, f full, i index. */
  readonly identity: 'd' | 'n' | 'f' | 'i';
  readonly identityIsKey: boolean;
  /** Columns whose unchanged out-of-line value arrives as NULL. */
  readonly lostWhenUnchanged: readonly string[];
  /** Columns that the connector leaves out, or sends without their value. */
  readonly omitted: readonly string[];
  readonly publications: readonly string[];
  readonly truncateMissing: boolean;
  readonly changesMissing: boolean;
  readonly leavesPublished: boolean;
}

/**
 * Types Debezium 3.6 leaves out by default, as observed: of the server's own, by name; composite
 * and multirange types by their form; all other types that no built-in or known extension brings.
 */
const OMITTED_TYPES = `'tsquery', 'jsonpath', 'xid', 'xid8', 'cid', 'tid', 'pg_lsn', 'regclass',
  'regproc', 'regprocedure', 'regoper', 'regoperator', 'regtype', 'regrole', 'regnamespace',
  'regconfig', 'regdictionary', 'regcollation', 'line', 'lseg', 'box', 'path', 'polygon',
  'circle', 'lquery', 'ltxtquery', 'cube', 'seg', 'issn', 'ean13', 'pg_snapshot',
  'txid_snapshot', 'aclitem', 'refcursor', 'name'`;
const OMITTED_ELEMENTS = `'money', 'name', 'xml', 'interval', 'varbit', 'bit', 'point'`;

/** Types whose unchanged TOAST value arrives as NULL and not as the placeholder. */
const LOST_TYPES = `'varbit', 'bytea'`;
const LOST_ELEMENTS = `'numeric', 'float4', 'float8', 'int2', 'bool', 'timestamp', 'timestamptz',
  'citext', 'int4range', 'bytea', 'date'`;

const QUERY = `
SELECT w.schema, w.name, c.oid IS NOT NULL AS found,
  coalesce(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), false)
    AS "mayRead",
  coalesce(row_security_active(c.oid), false) AS "rowSecurity",
  coalesce(c.relpersistence = 'u', false) AS unlogged,
  coalesce(c.relkind = 'p', false) AS partitioned,
  EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) AS "primaryKey",
  coalesce(c.relreplident::text, 'd') AS identity,
  EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisreplident)
    AS "identityIsKey",
  ARRAY(SELECT a.attname::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attstorage <> 'p'
      AND (t.typname IN (${LOST_TYPES}) OR (t.typname = 'numeric' AND a.atttypmod = -1)
        OR e.typname IN (${LOST_ELEMENTS}) OR e.typtype = 'e')
    ORDER BY a.attnum) AS "lostWhenUnchanged",
  ARRAY(SELECT a.attname::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      AND (t.typname IN (${OMITTED_TYPES}) OR t.typtype IN ('c', 'm')
        OR (t.typtype = 'r' AND t.oid >= 16384)
        OR e.typname IN (${OMITTED_ELEMENTS}, ${OMITTED_TYPES}) OR e.typtype IN ('c', 'd', 'm'))
    ORDER BY a.attnum) AS omitted,
  ARRAY(SELECT DISTINCT p.pubname::text FROM published p WHERE p.root = c.oid ORDER BY 1)
    AS publications,
  EXISTS (SELECT FROM published p WHERE p.root = c.oid AND NOT p.pubtruncate)
    AS "truncateMissing",
  EXISTS (SELECT FROM published p WHERE p.root = c.oid
    AND NOT (p.pubinsert AND p.pubupdate AND p.pubdelete)) AS "changesMissing",
  EXISTS (SELECT FROM published p WHERE p.root = c.oid AND c.relkind = 'p' AND NOT p.pubviaroot)
    AS "leavesPublished"
FROM unnest($1::text[], $2::text[]) AS w(schema, name)
LEFT JOIN pg_namespace n ON n.nspname = w.schema
LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p')
ORDER BY 1, 2`;

/** Published tables, with the partitioned tables above and the partitions below them. */
const PUBLISHED = `WITH published AS MATERIALIZED (
  SELECT p.pubname, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot,
    family.relid AS root
  FROM pg_publication p
  JOIN pg_publication_tables pt ON pt.pubname = p.pubname
  JOIN pg_namespace pn ON pn.nspname = pt.schemaname
  JOIN pg_class pc ON pc.relnamespace = pn.oid AND pc.relname = pt.tablename
  CROSS JOIN LATERAL (SELECT pc.oid UNION SELECT a.relid FROM pg_partition_ancestors(pc.oid) a
    UNION SELECT t.relid FROM pg_partition_tree(pc.oid) t) family(relid))`;

/**
 * What of each table keeps its changes from arriving whole. One finding per table and trap; a
 * table with none of them has a single `ok`.
 */
export async function diagnoseTables(
  client: ClientBase,
  tables: readonly TableId[],
): Promise<readonly Diagnosis[]> {
  const { rows } = await client.query<TableFacts>(`${PUBLISHED}${QUERY}`, [
    tables.map((table) => table.schema),
    tables.map((table) => table.name),
  ]);
  return rows.flatMap((facts) => {
    const findings = facts.found ? [...access(facts), ...identity(facts), ...stream(facts)] : [];
    if (!facts.found) {
      const cure = 'Check tables.include, or that the account’s database is the right one.';
      findings.push(finding(facts, 'missing', 'error', 'does not exist', cure));
    }
    return findings.length > 0 ? findings : [finding(facts, 'ready', 'ok', 'is ready', null)];
  });
}

function finding(
  table: TableId,
  id: string,
  level: Diagnosis['level'],
  message: string,
  cure: string | null,
): Diagnosis {
  return { id: `table.${id}`, level, message: `table ${tableName(table)} ${message}`, cure };
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

function identity(facts: TableFacts): Diagnosis[] {
  const full = `ALTER TABLE ${quote(facts.schema, facts.name)} REPLICA IDENTITY FULL.`;
  const found: Diagnosis[] = [];
  if (!facts.primaryKey) {
    const cure = 'Give it a primary key, or exclude it with tables.exclude.';
    found.push(finding(facts, 'key', 'error', 'has no primary key', cure));
  }
  switch (facts.identity) {
    case 'n':
      found.push(finding(facts, 'identity', 'error', 'has REPLICA IDENTITY NOTHING', full));
      break;
    case 'i':
      if (facts.identityIsKey) break;
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
  if (facts.identity !== 'f' && facts.lostWhenUnchanged.length > 0) {
    const columns = facts.lostWhenUnchanged.join(', ');
    const message = `sends NULL for large unchanged values of: ${columns}`;
    found.push(finding(facts, 'toast', 'warning', message, full));
  }
  return found;
}

function stream(facts: TableFacts): Diagnosis[] {
  const found: Diagnosis[] = [];
  const add = (id: string, level: Diagnosis['level'], message: string, cure: string): void => {
    found.push(finding(facts, id, level, message, cure));
  };
  if (facts.unlogged) {
    add('unlogged', 'error', 'is unlogged: its changes are in no log', 'ALTER TABLE … SET LOGGED.');
  }
  if (facts.omitted.length > 0) {
    const message = `has columns of types the connector cannot send: ${facts.omitted.join(', ')}`;
    add('type', 'warning', message, 'They stay empty in the shadow; exclude them from checks.');
  }
  if (facts.publications.length === 0) {
    const cure = 'Add it to the connector’s publication, unless the connector makes that itself.';
    add('publication', 'warning', 'is in no publication', cure);
    return found;
  }
  const names = facts.publications.join(', ');
  const set = (option: string): string => `ALTER PUBLICATION … SET (${option}) (${names}).`;
  if (facts.changesMissing) {
    const cure = set(`publish = 'insert, update, delete, truncate'`);
    add('publish', 'error', 'is in a publication that leaves out changes', cure);
  } else if (facts.truncateMissing) {
    const cure = set(`publish = 'insert, update, delete, truncate'`);
    add('truncate', 'warning', 'is in a publication that leaves out TRUNCATE', cure);
  }
  if (facts.leavesPublished) {
    const message = 'is partitioned, and its changes arrive under the names of its partitions';
    add('partitions', 'error', message, set('publish_via_partition_root = true'));
  }
  return found;
}
