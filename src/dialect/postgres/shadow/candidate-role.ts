import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import type pg from 'pg';
import { escapeIdentifier, escapeLiteral } from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { Connection, transaction, type ServerAddress } from '../session/session.ts';

const ITERATIONS = 4096;

/** By this comment a role of ours is known again. */
export function roleComment(database: string): string {
  return `understudy: candidate of ${database}`;
}

/**
 * The form in which the server stores a password (RFC 5803), so that the password itself is in no
 * statement and no log. The password must be ASCII.
 */
export function scramVerifier(password: string, salt: Buffer = randomBytes(16)): string {
  const salted = pbkdf2Sync(password, salt, ITERATIONS, 32, 'sha256');
  const hmac = (label: string): Buffer => createHmac('sha256', salted).update(label).digest();
  const stored = createHash('sha256').update(hmac('Client Key')).digest('base64');
  const server = hmac('Server Key').toString('base64');
  return `SCRAM-SHA-256$${String(ITERATIONS)}:${salt.toString('base64')}$${stored}:${server}`;
}

/**
 * The candidate's role: it may log in to its own database only, read and write the user's tables
 * and sequences (those made later too), and has no right on what is ours. Made again with a new
 * password if it exists. TARGET_NOT_OURS if somebody else's role has the name.
 */
export async function createCandidateRole(
  address: ServerAddress,
  options: { readonly database: string; readonly role: string; readonly password: string },
): Promise<{ readonly url: string }> {
  const { database, role, password } = options;
  const name = escapeIdentifier(role);
  await using inside = new Connection({ address, database, role: 'grant' });
  await inside.use({ doing: 'make the candidate’s role', otherwise: 'APPLY_FAILED' }, (client) =>
    transaction(client, async () => {
      const exists = await isOurRole(client, role, database);
      const verb = exists ? 'ALTER' : 'CREATE';
      // Of a role that is there, only a superuser may say it; another account could not alter one.
      const plain = exists && !(await isSuperuser(client)) ? '' : 'NOSUPERUSER';
      await client.query(
        `${verb} ROLE ${name} LOGIN ${plain} NOCREATEDB NOCREATEROLE
          PASSWORD ${escapeLiteral(scramVerifier(password))};
        COMMENT ON ROLE ${name} IS ${escapeLiteral(roleComment(database))};
        GRANT CONNECT, TEMPORARY ON DATABASE ${escapeIdentifier(database)} TO ${name}`,
      );
      for (const schema of await userSchemas(client)) await grantSchema(client, schema, name);
    }),
  );
  return { url: address.candidateUrl(database, role, password) };
}

/** False if there is none. TARGET_NOT_OURS if it is not ours, or another database's. */
export async function isOurRole(
  client: pg.ClientBase,
  role: string,
  database: string,
): Promise<boolean> {
  const { rows } = await client.query<{ comment: string | null }>(
    `SELECT pg_catalog.shobj_description(r.oid, 'pg_authid') AS comment
      FROM pg_catalog.pg_roles r WHERE r.rolname = $1`,
    [role],
  );
  const found = rows[0];
  if (found === undefined) return false;
  if (found.comment === roleComment(database)) return true;
  throw new UnderstudyError('TARGET_NOT_OURS', `the role '${role}' exists and is not ours`, {
    database,
  });
}

export async function isSuperuser(client: pg.ClientBase): Promise<boolean> {
  const { rows } = await client.query<{ superuser: boolean }>(
    'SELECT rolsuper AS superuser FROM pg_catalog.pg_roles WHERE rolname = current_user',
  );
  return rows[0]?.superuser === true;
}

export async function userSchemas(client: pg.ClientBase): Promise<readonly string[]> {
  const { rows } = await client.query<{ schema: string }>(
    `SELECT nspname AS schema FROM pg_catalog.pg_namespace
      WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'understudy')
        AND nspname !~ '__(production|difference)$'
      ORDER BY 1`,
  );
  return rows.map((row) => row.schema);
}

export async function grantSchema(
  client: pg.ClientBase,
  schema: string,
  role: string,
): Promise<void> {
  const name = escapeIdentifier(schema);
  const dml = 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE';
  await client.query(`
    GRANT USAGE ON SCHEMA ${name} TO ${role};
    GRANT ${dml} ON ALL TABLES IN SCHEMA ${name} TO ${role};
    GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA ${name} TO ${role};
    GRANT EXECUTE ON ALL ROUTINES IN SCHEMA ${name} TO ${role};
    ALTER DEFAULT PRIVILEGES IN SCHEMA ${name} GRANT ${dml} ON TABLES TO ${role};
    ALTER DEFAULT PRIVILEGES IN SCHEMA ${name} GRANT USAGE, SELECT, UPDATE ON SEQUENCES TO ${role};
    ALTER DEFAULT PRIVILEGES IN SCHEMA ${name} GRANT EXECUTE ON ROUTINES TO ${role}`);
}

/**
 * Before a candidate's database is dropped by an account that is no superuser: makes it a member
 * of the role, for else it may neither end the candidate's sessions nor drop what is theirs. Not
 * earlier, since a member would write to the candidate's own tables, and run their triggers.
 */
export async function joinCandidateRole(
  server: pg.ClientBase,
  role: string,
  database: string,
): Promise<void> {
  if (!(await isOurRole(server, role, database))) return;
  const { rows } = await server.query<{ member: boolean }>(
    `SELECT pg_catalog.pg_has_role($1::text::pg_catalog.name, 'USAGE') AS member`,
    [role],
  );
  if (rows[0]?.member === true) return;
  await server.query(`GRANT ${escapeIdentifier(role)} TO CURRENT_USER`);
}

/** Drops the role with what it was granted elsewhere. Nothing happens if there is none. */
export async function dropCandidateRole(
  server: pg.ClientBase,
  role: string,
  database: string,
): Promise<void> {
  if (!(await isOurRole(server, role, database))) return;
  const name = escapeIdentifier(role);
  await server.query(`DROP OWNED BY ${name} CASCADE; DROP ROLE ${name}`);
}
