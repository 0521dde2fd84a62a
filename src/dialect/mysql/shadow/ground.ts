/**
 * What makes a server unfit for rollouts: rights that everybody has there, by which a candidate could write
 * past what captures it or read what is ours, and settings by which it meets errors of our making.
 */
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { Diagnosis } from '../../dialect.ts';
import type { Client } from '../session/client.ts';
import { readFlavour, type Flavour } from '../session/flavour.ts';
import { companionName, literal, viewDatabase, VIEWS } from '../session/names.ts';

/** SHADOW_OPEN, with the first that was found. For a rollout that is there, or is to be made. */
export async function assertGround(client: Client, rollout: string): Promise<void> {
  const [first] = await groundFindings(client, [rollout]);
  if (first === undefined) return;
  const { message, cure } = first;
  throw new UnderstudyError('SHADOW_OPEN', message, { database: rollout, detail: cure ?? '' });
}

/** All that makes it unfit for rollouts of these names; databases that go with them are looked at too. */
export async function groundFindings(
  client: Client,
  rollouts: readonly string[],
): Promise<readonly Diagnosis[]> {
  const flavour = await readFlavour(client);
  const databases = rollouts.flatMap((name) => [
    ...[name, companionName(name)],
    ...VIEWS.map((kind) => viewDatabase(name, kind)),
  ]);
  const found = [...(await namelessAccounts(client)), ...(await snapshotIsolation(client))];
  for (const grantee of await everybody(client, flavour)) {
    found.push(...(await globalRights(client, grantee, flavour)));
    found.push(...(await rightsOn(client, grantee, databases)));
  }
  return found;
}

function finding(id: string, message: string, cure: string): Diagnosis {
  return { id: `shadow.${id}`, level: 'error', message, cure };
}

/**
 * Who connects from where it is for gets in by it under any name and without a password, also under the one
 * that capture lets through.
 */
async function namelessAccounts(client: Client): Promise<readonly Diagnosis[]> {
  const rows = await client.rows<{ host: string }>(
    `SELECT Host AS host FROM mysql.user WHERE User = '' ORDER BY Host`,
  );
  return rows.map(({ host }) =>
    finding(
      'nameless-account',
      'the server has an account without a name, by which anybody may pass for another one',
      `DROP USER ''@${literal(host)}`,
    ),
  );
}

/**
 * Who reads a snapshot may then write no row that changed since, and a journal's entries change with
 * production: in REPEATABLE READ candidates would meet error 1020 for no act of theirs.
 */
async function snapshotIsolation(client: Client): Promise<readonly Diagnosis[]> {
  const [setting] = await client.rows<{ Value: string }>(
    `SHOW GLOBAL VARIABLES LIKE 'innodb_snapshot_isolation'`,
  );
  if (setting === undefined || setting.Value === 'OFF') return [];
  return [
    finding(
      'snapshot-isolation',
      'innodb_snapshot_isolation is ON, as MariaDB has it from 11.6.2 on by default: candidates in REPEATABLE READ would meet errors 1020 that production would not give',
      'SET GLOBAL innodb_snapshot_isolation = OFF, in the configuration too',
    ),
  ];
}

/** Whom the server takes everybody for, besides who they are. */
interface Grantee {
  readonly name: string;
  /** Null: of any. */
  readonly host: string | null;
  /** For messages. */
  readonly told: string;
  /** How its rights are taken away. */
  readonly cure: string;
}

async function everybody(client: Client, { engine }: Flavour): Promise<readonly Grantee[]> {
  // Rows of mysql.db without a name are everybody's: mysql_install_db made such for `test` and `test\_%`.
  const nameless: Grantee = {
    ...{ name: '', host: null, told: 'everybody' },
    cure: `DELETE FROM mysql.db WHERE User = '', then FLUSH PRIVILEGES`,
  };
  return [nameless, ...(await (engine === 'mysql' ? mandatory(client) : ofPublic(client)))];
}

/** MariaDB's role that all have, from 10.11 on, and the roles that were granted to it. */
async function ofPublic(client: Client): Promise<readonly Grantee[]> {
  const edges = await client.rows<{ to: string; role: string }>(
    `SELECT User AS \`to\`, Role AS role FROM mysql.roles_mapping WHERE Host = ''`,
  );
  return reached(['PUBLIC'], edges).map((name) => ({
    ...{ name, host: '' },
    told: name === 'PUBLIC' ? 'PUBLIC' : `role ${name}, which PUBLIC has,`,
    cure: name === 'PUBLIC' ? 'REVOKE it FROM PUBLIC' : `REVOKE ${name} FROM PUBLIC`,
  }));
}

const ROLE =
  /(?:`((?:[^`]|``)*)`|'([^']*)'|([^\s,@`']+))(?:@(?:`((?:[^`]|``)*)`|'([^']*)'|([^\s,`']+)))?/g;

/** Those that MySQL gives to all accounts, and the roles that were granted to these. */
async function mandatory(client: Client): Promise<readonly Grantee[]> {
  const { roles } = await client.row<{ roles: string }>('SELECT @@global.mandatory_roles AS roles');
  const id = (name: string, host: string): string => JSON.stringify([name, host]);
  const first = Array.from(roles.matchAll(ROLE), ([, a, b, c, d, e, f]) =>
    id(a ?? b ?? c ?? '', d ?? e ?? f ?? '%'),
  );
  if (first.length === 0) return [];
  const edges = await client.rows<{ to: string; toHost: string; role: string; host: string }>(
    `SELECT TO_USER AS \`to\`, TO_HOST AS toHost, FROM_USER AS role, FROM_HOST AS host
      FROM mysql.role_edges`,
  );
  const known = edges.map((one) => ({ to: id(one.to, one.toHost), role: id(one.role, one.host) }));
  return reached(first, known).map((one) => {
    const [name = '', host = ''] = JSON.parse(one) as readonly string[];
    const told = `role ${name}, which all accounts have by mandatory_roles,`;
    return { name, host, told, cure: 'take it out of mandatory_roles, or its rights from it' };
  });
}

/** These, and all that they have by others. */
function reached(
  first: readonly string[],
  edges: readonly { readonly to: string; readonly role: string }[],
): readonly string[] {
  const found = new Set(first);
  for (const one of found) {
    for (const { to, role } of edges) if (to === one) found.add(role);
  }
  return [...found];
}

/** Of rights on the whole server, those by which nothing of a database is seen or changed. */
const HARMLESS = new Set(['Process_priv', 'Show_db_priv', 'Repl_client_priv']);

async function globalRights(
  client: Client,
  { name, host, told, cure }: Grantee,
  { engine }: Flavour,
): Promise<readonly Diagnosis[]> {
  // Told by namelessAccounts.
  if (host === null) return [];
  const rows = await client.rows<Record<string, unknown>>(
    'SELECT * FROM mysql.user WHERE User = ? AND Host = ?',
    [name, host],
  );
  const rights = rows.flatMap((row) =>
    Object.keys(row).filter(
      (column) => column.endsWith('_priv') && row[column] === 'Y' && !HARMLESS.has(column),
    ),
  );
  if (engine === 'mysql') {
    const dynamic = await client.rows<{ name: string }>(
      'SELECT PRIV AS name FROM mysql.global_grants WHERE USER = ? AND HOST = ?',
      [name, host],
    );
    rights.push(...dynamic.map((one) => one.name));
  }
  if (rights.length === 0) return [];
  const list = rights.map((right) => right.replace(/_priv$/, '')).join(', ');
  return [finding('open-to-all', `${told} has rights on all databases: ${list}`, cure)];
}

/** Databases of GRANTs on databases are patterns, those of other GRANTs are names. */
async function rightsOn(
  client: Client,
  { name, host, told, cure }: Grantee,
  databases: readonly string[],
): Promise<readonly Diagnosis[]> {
  const from = host === null ? '' : `AND Host = ${literal(host)}`;
  const some = (is: (database: string) => string): string =>
    `User = ${literal(name)} ${from} AND (${databases.map(is).join(' OR ')})`;
  const matches = some((database) => `${literal(database)} LIKE Db ESCAPE '\\'`);
  const named = some((database) => `Db = ${literal(database)}`);
  const rows = await client.rows<{ pattern: string }>(
    `SELECT Db AS pattern FROM mysql.db WHERE ${matches}
      UNION SELECT Db FROM mysql.tables_priv WHERE ${named}
      UNION SELECT Db FROM mysql.columns_priv WHERE ${named}
      UNION SELECT Db FROM mysql.procs_priv WHERE ${named} ORDER BY 1`,
  );
  return rows.map(({ pattern }) =>
    finding(
      'open-to-all',
      `${told} has rights on \`${pattern}\`, which is, or matches, a database of ours`,
      `${cure}, or choose a trunk.name that it does not match`,
    ),
  );
}
