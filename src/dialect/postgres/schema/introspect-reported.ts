import type { ClientBase } from 'pg';
import {
  CATALOGUE,
  type CatalogueObject,
  type Findings,
  objectKey,
  RANK,
  read,
  type Remark,
  USER_SCHEMA,
} from './introspect-object.ts';

/** Always true of a plan, so said once. */
const GENERAL: readonly Remark[] = [
  { what: 'owners, roles and grants', why: 'the shadow has roles of its own' },
  {
    what: 'tablespaces, storage parameters, replica identities',
    why: 'they do not change what a query returns',
  },
];

/** Catalogues whose objects a plan does not make, and why. */
const LEFT_OUT: readonly { readonly catalogue: string; readonly why: string }[] = [
  { catalogue: 'pg_operator', why: 'operators are not carried over' },
  { catalogue: 'pg_opclass', why: 'operator classes are not carried over' },
  { catalogue: 'pg_opfamily', why: 'operator families are not carried over' },
  { catalogue: 'pg_cast', why: 'casts are not carried over' },
  { catalogue: 'pg_conversion', why: 'encoding conversions are not carried over' },
  { catalogue: 'pg_ts_config', why: 'text search objects are not carried over' },
  { catalogue: 'pg_ts_dict', why: 'text search objects are not carried over' },
  { catalogue: 'pg_ts_parser', why: 'text search objects are not carried over' },
  { catalogue: 'pg_ts_template', why: 'text search objects are not carried over' },
  { catalogue: 'pg_foreign_data_wrapper', why: 'the shadow reaches no other server' },
  { catalogue: 'pg_foreign_server', why: 'the shadow reaches no other server' },
  { catalogue: 'pg_language', why: 'languages that no extension brings are not carried over' },
  { catalogue: 'pg_am', why: 'access methods need code in the server' },
  { catalogue: 'pg_transform', why: 'transforms are not carried over' },
  { catalogue: 'pg_event_trigger', why: 'it would fire for what understudy itself does' },
  { catalogue: 'pg_publication', why: 'nothing replicates from the shadow' },
];

/** OIDs below this are the server's own (FirstNormalObjectId). */
const FIRST_USER_OID = 16384;

/** What a plan leaves out, as objects, so that what depends on them is reported too. */
export async function readLeftOut(client: ClientBase): Promise<Findings> {
  const objects: CatalogueObject[] = [];
  for (const { catalogue, why } of LEFT_OUT) {
    const rows = await read<{ class: number; oid: number; kind: string; name: string }>(
      client,
      `SELECT x.tableoid AS class, x.oid, i.type AS kind, i.identity AS name
       FROM ${catalogue} x CROSS JOIN LATERAL pg_identify_object(x.tableoid, x.oid, 0) i
       WHERE x.oid >= ${FIRST_USER_OID} AND NOT EXISTS (SELECT FROM pg_depend d
         WHERE d.classid = x.tableoid AND d.objid = x.oid AND d.deptype = 'i')`,
    );
    for (const row of rows) {
      objects.push(leftOut(row.class, row.oid, `${row.kind} ${row.name}`, why));
    }
  }
  const foreign = await read<{ oid: number; name: string }>(
    client,
    `SELECT c.oid, format('%s.%s', n.nspname, c.relname) AS name FROM pg_class c
     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'f' AND ${USER_SCHEMA}`,
  );
  for (const row of foreign) {
    const what = `foreign table ${row.name}`;
    objects.push(leftOut(CATALOGUE.class, row.oid, what, 'the shadow reaches no other server'));
  }
  return { objects, remarks: [...GENERAL, ...(await readRemarks(client))] };
}

function leftOut(catalogue: number, oid: number, what: string, reason: string): CatalogueObject {
  return {
    key: objectKey(catalogue, oid),
    what: what.replaceAll('"', ''),
    rank: RANK.leftOut,
    sql: [],
    optional: true,
    reason,
  };
}

/** What nothing else can depend on. */
async function readRemarks(client: ClientBase): Promise<readonly Remark[]> {
  return read<{ what: string; why: string }>(
    client,
    `SELECT 'rule ' || r.rulename || ' of ' || n.nspname || '.' || c.relname AS what,
       'rules are not carried over' AS why
     FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
     JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE r.rulename <> '_RETURN' AND ${USER_SCHEMA}
     UNION ALL SELECT 'subscription ' || s.subname, 'the shadow follows the event log only'
     FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
     WHERE d.datname = current_database()
     UNION ALL SELECT count(*) || ' large objects', 'they are in no event log'
     FROM pg_largeobject_metadata HAVING count(*) > 0
     UNION ALL SELECT 'setting ' || split_part(c.setting, '=', 1) || ' of the database',
       'set it on the shadow database if the application relies on it'
     FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
     CROSS JOIN LATERAL unnest(s.setconfig) c(setting)
     WHERE s.setrole = 0 AND d.datname = current_database()
     UNION ALL SELECT 'default collation ' || d.datcollate || ' of the database',
       'the shadow database has the one of its server; sort orders may differ'
     FROM pg_database d WHERE d.datname = current_database()
     UNION ALL SELECT 'schema ' || n.nspname || ' with all it holds',
       'understudy uses this name in its own databases'
     FROM pg_namespace n WHERE n.nspname = 'understudy'
       OR n.nspname ~ '__(production|difference)$'
     ORDER BY 1`,
  );
}
