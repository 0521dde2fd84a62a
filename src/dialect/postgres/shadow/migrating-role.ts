/**
 * The role that a candidate's migration runs as. It owns the user's tables meanwhile, since nobody else may
 * change one. What it makes beside tables stays its own when it is closed: views and functions run
 * with its rights, which are the candidate's then, and see nothing of ours.
 */
import { randomBytes } from 'node:crypto';
import { escapeIdentifier, escapeLiteral, type ClientBase } from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { MigratingAccount } from '../../migrating.ts';
import { shortened } from '../session/names.ts';
import type { ServerAddress } from '../session/session.ts';
import {
  grantSchema,
  isOurRole,
  isSuperuser,
  scramVerifier,
  roleComment,
  userSchemas,
} from './candidate-role.ts';

/** How long a session may take to end. */
const END_WAIT_MS = 10_000;

export function migratingRole(database: string): string {
  return shortened(database, '__migration');
}

/** Not of an extension. */
const OWN = (catalogue: string, oid: string): string =>
  `NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = ${oid} AND d.deptype = 'e'
    AND d.classid = 'pg_catalog.${catalogue}'::pg_catalog.regclass)`;

const USER_SCHEMA = `n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'understudy')
  AND n.nspname !~ '__(production|difference)$'`;

const ownerOf = (column: string): string => `pg_catalog.pg_get_userbyid(${column}) AS owner`;

/** Each as `ALTER … OWNER TO`, with its owner; a sequence of a column goes with its table. */
const RELATIONS = `SELECT ${ownerOf('c.relowner')}, 'ALTER ' || CASE c.relkind WHEN 'v' THEN 'VIEW ' WHEN 'm' THEN 'MATERIALIZED VIEW '
    WHEN 'S' THEN 'SEQUENCE ' WHEN 'f' THEN 'FOREIGN TABLE ' ELSE 'TABLE ' END
    || pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS alter
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE ${USER_SCHEMA} AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't'
    AND ${OWN('pg_class', 'c.oid')} AND NOT (c.relkind = 'S' AND EXISTS (
      SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('a', 'i')
        AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass))`;

const ROUTINES = `SELECT ${ownerOf('p.proowner')}, 'ALTER ROUTINE ' || p.oid::pg_catalog.regprocedure AS alter
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  WHERE ${USER_SCHEMA} AND p.prokind <> 'a' AND ${OWN('pg_proc', 'p.oid')}`;

const TYPES = `SELECT ${ownerOf('t.typowner')}, CASE t.typtype WHEN 'd' THEN 'ALTER DOMAIN ' ELSE 'ALTER TYPE ' END
    || pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname) AS alter
  FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
  LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
  WHERE ${USER_SCHEMA} AND ${OWN('pg_type', 't.oid')}
    AND (t.typtype IN ('d', 'e', 'r') OR t.typtype = 'c' AND c.relkind = 'c')`;

const SCHEMAS = `SELECT ${ownerOf('n.nspowner')}, 'ALTER SCHEMA ' || pg_catalog.quote_ident(n.nspname) AS alter
  FROM pg_catalog.pg_namespace n WHERE ${USER_SCHEMA}`;

const ALL = [SCHEMAS, TYPES, ROUTINES, RELATIONS] as const;

/** Makes the role, or lets it in again, and gives it the user's tables; in the caller's transaction. */
export async function openMigratingRole(
  client: ClientBase,
  address: ServerAddress,
  database: string,
): Promise<MigratingAccount> {
  const role = migratingRole(database);
  const name = escapeIdentifier(role);
  const password = randomBytes(18).toString('base64url');
  const exists = await isOurRole(client, role, database);
  const superuser = await isSuperuser(client);
  const plain = exists && !superuser ? '' : 'NOSUPERUSER';
  await client.query(
    `${exists ? 'ALTER' : 'CREATE'} ROLE ${name} LOGIN ${plain} NOCREATEDB NOCREATEROLE
      PASSWORD ${escapeLiteral(scramVerifier(password))};
    COMMENT ON ROLE ${name} IS ${escapeLiteral(roleComment(database))};
    GRANT CONNECT, CREATE, TEMPORARY ON DATABASE ${escapeIdentifier(database)} TO ${name}`,
  );
  // Nobody gives to a role that it is none of, or takes back.
  if (!superuser) await client.query(`GRANT ${name} TO CURRENT_USER`);
  for (const query of ALL) await alterOwners(client, query, role);
  const url = address.candidateUrl(database, role, password);
  const { hostname, port } = new URL(url);
  return {
    url,
    environment: {
      ...{ PGSERVICE: null, PGSERVICEFILE: null, PGHOSTADDR: null, PGOPTIONS: null },
      ...{ DATABASE_URL: url, PGHOST: hostname, PGPORT: port === '' ? '5432' : port },
      ...{ PGDATABASE: database, PGUSER: role, PGPASSWORD: password },
    },
  };
}

/** `owner`: null is our own account. What is its already is left alone. */
async function alterOwners(client: ClientBase, query: string, owner: string | null): Promise<void> {
  const { rows } = await client.query<{ alter: string }>(
    `SELECT o.alter FROM (${query}) o WHERE o.owner <> COALESCE($1, current_user::text)`,
    [owner],
  );
  const to = owner === null ? 'CURRENT_USER' : escapeIdentifier(owner);
  for (const { alter } of rows) await client.query(`${alter} OWNER TO ${to}`);
}

/** All of the user's is `owner`'s, which may make schemas beside. In the caller's transaction. */
export async function giveAll(
  client: ClientBase,
  { database, owner }: { readonly database: string; readonly owner: string },
): Promise<void> {
  for (const query of ALL) await alterOwners(client, query, owner);
  const name = escapeIdentifier(owner);
  await client.query(`GRANT CREATE ON DATABASE ${escapeIdentifier(database)} TO ${name}`);
}

/** Nobody logs in as it any more; what was prepared in two phases stays, and keeps its locks. */
export async function shutMigratingRole(client: ClientBase, database: string): Promise<void> {
  const role = migratingRole(database);
  if (!(await isOurRole(client, role, database))) return;
  await client.query(`ALTER ROLE ${escapeIdentifier(role)} NOLOGIN PASSWORD NULL`);
}

/** After that was committed. */
export async function endMigratingSessions(client: ClientBase, database: string): Promise<void> {
  const { rows } = await client.query<{ ended: boolean }>(
    `SELECT pg_catalog.pg_terminate_backend(pid, ${String(END_WAIT_MS)}) AS ended
      FROM pg_catalog.pg_stat_activity WHERE usename = $1`,
    [migratingRole(database)],
  );
  if (rows.every(({ ended }) => ended)) return;
  throw new UnderstudyError('APPLY_BLOCKED', 'a session of the migration does not end', {
    database,
  });
}

/** Tables and sequences are ours again, and the candidate may read and write those that a migration made. */
export async function takeTablesBack(
  client: ClientBase,
  database: string,
  candidate: string,
): Promise<void> {
  const tables = `SELECT o.* FROM (${RELATIONS}) o WHERE o.alter ~ '^ALTER (TABLE|SEQUENCE|FOREIGN)'`;
  await alterOwners(client, tables, null);
  const roles = [escapeIdentifier(candidate)];
  if (await isOurRole(client, migratingRole(database), database)) {
    const role = escapeIdentifier(migratingRole(database));
    await client.query(`REVOKE CREATE ON DATABASE ${escapeIdentifier(database)} FROM ${role}`);
    roles.push(role);
  }
  for (const schema of await userSchemas(client)) {
    for (const one of roles) await grantSchema(client, schema, one);
  }
}
