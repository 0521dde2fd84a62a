/**
 * The accounts that go with a rollout: the candidate's, and the one under whose rights the rollout's
 * own views and stored programs run. Both have rights on the rollout's database alone. Those that are
 * ours are listed in the companion before they are made, so that none of somebody else's is ever
 * changed or dropped.
 */
import { createHash, randomBytes } from 'node:crypto';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { sleep } from '../../../util/wait.ts';
import type { ServerAddress } from '../session/address.ts';
import type { Client } from '../session/client.ts';
import { Connection } from '../session/connection.ts';
import { ERRNO, hasErrno, serverError } from '../session/errors.ts';
import { readFlavour, type Flavour } from '../session/flavour.ts';
import { accountName, companionName, literal, quote, quoteForGrant } from '../session/names.ts';
import { lockWork } from '../session/server-locks.ts';
import { assertGround } from './ground.ts';

/** How long another process may work on the same database before this gives up. */
const WAIT_MS = 60_000;
/** How long sessions of an account may take to end. */
const END_WAIT_MS = 10_000;
const POLL_MS = 20;

/** Candidates come from anywhere; nobody logs in as who defines. */
const CANDIDATE_HOST = '%';
const DEFINER_HOST = 'localhost';

/**
 * It writes rows, which is captured, and nothing that would not be: no TRUNCATE, which these servers give
 * with DROP, and no other change of a table. No LOCK TABLES, with which it could keep the applier out. No
 * CREATE TEMPORARY TABLES: one of a table's name is what the triggers would read in place of the table.
 */
const CANDIDATE_RIGHTS = 'SELECT, INSERT, UPDATE, DELETE, EXECUTE, SHOW VIEW';
/**
 * What views, routines and events may do: what the candidate may, for whom they run. No TRIGGER: a routine
 * may run what text it is given, and drop the triggers that capture.
 */
const PROGRAM_RIGHTS = `${CANDIDATE_RIGHTS}, EVENT`;
/** What triggers may do, in which no text can be run. */
const TRIGGER_RIGHTS = 'SELECT, INSERT, UPDATE, DELETE, EXECUTE, TRIGGER';

/**
 * The candidate's account: it may log in from anywhere, and read and write rows of its own database. Made again with a
 * new password if it exists. TARGET_NOT_OURS if somebody else's account has the name; SHADOW_OPEN.
 */
export async function createCandidateRole(
  address: ServerAddress,
  { engine }: Flavour,
  options: { readonly database: string; readonly role: string; readonly password: string },
): Promise<{ readonly url: string }> {
  const { database, role, password } = options;
  const name = accountName(role);
  await using server = new Connection({ address, database: null });
  const what = { doing: 'make the candidate’s account', otherwise: 'APPLY_FAILED' } as const;
  await server.use(what, async (client) => {
    await lockWork(client, database, WAIT_MS);
    await assertGround(client, database);
    const account = await claimAccount(client, database, name, CANDIDATE_HOST);
    const proof =
      engine === 'mariadb'
        ? `VIA mysql_native_password USING ${literal(nativeHash(password))}`
        : `BY ${literal(password)}`;
    await withoutText(() => client.run(`CREATE USER IF NOT EXISTS ${account} IDENTIFIED ${proof}`));
    await withoutText(() => client.run(`ALTER USER ${account} IDENTIFIED ${proof}`));
    await grant(client, { database, account, rights: CANDIDATE_RIGHTS });
  });
  return { url: address.candidateUrl(database, name, password) };
}

/** What a migration may do, in the rollout's database alone. */
const MIGRATING_RIGHTS = `${PROGRAM_RIGHTS}, CREATE, DROP, ALTER, INDEX, REFERENCES, TRIGGER,
  CREATE VIEW, CREATE ROUTINE, ALTER ROUTINE, CREATE TEMPORARY TABLES, LOCK TABLES`;

const migratingAccount = (database: string): string => accountName(database, '__migration');

/** The account that migrates, with a new password each time. */
export async function openMigratingAccount(
  client: Client,
  address: ServerAddress,
  database: string,
): Promise<{ readonly url: string; readonly user: string; readonly password: string }> {
  const user = migratingAccount(database);
  const account = await claimAccount(client, database, user, CANDIDATE_HOST);
  const password = randomBytes(18).toString('base64url');
  const { engine } = await readFlavour(client);
  const proof =
    engine === 'mariadb'
      ? `VIA mysql_native_password USING ${literal(nativeHash(password))}`
      : `BY ${literal(password)}`;
  await withoutText(() => client.run(`CREATE USER IF NOT EXISTS ${account} IDENTIFIED ${proof}`));
  await withoutText(() => client.run(`ALTER USER ${account} IDENTIFIED ${proof} ACCOUNT UNLOCK`));
  await grant(client, { database, account, rights: MIGRATING_RIGHTS });
  return { url: address.candidateUrl(database, user, password), user, password };
}

/**
 * Nobody logs in as it any more. It stays, for it defines the views and stored programs that a migration
 * made, and may do what those may.
 */
export async function closeMigratingAccount(client: Client, database: string): Promise<void> {
  const user = migratingAccount(database);
  if (!(await ownAccounts(client, database)).some(({ name }) => name === user)) return;
  if (!(await accountExists(client, user))) return;
  const account = `${literal(user)}@${literal(CANDIDATE_HOST)}`;
  const password = literal(randomBytes(24).toString('base64url'));
  await withoutText(() =>
    client.run(`ALTER USER ${account} IDENTIFIED BY ${password} ACCOUNT LOCK`),
  );
  await grant(client, { database, account, rights: PROGRAM_RIGHTS });
  await endSessions(client, [user], true);
}

/** Under whose rights the copy's own programs run; quoted. */
export interface Definers {
  readonly programs: string;
  readonly triggers: string;
}

/** Made with the rollout, before anything is that they define. */
export async function createDefiners(client: Client, database: string): Promise<Definers> {
  return {
    programs: await createDefiner(client, database, ['__programs', PROGRAM_RIGHTS]),
    triggers: await createDefiner(client, database, ['__triggers', TRIGGER_RIGHTS]),
  };
}

/** Whose triggers and views those of a rollout are. */
export function triggerAccount(database: string): readonly [user: string, host: string] {
  return [accountName(database, '__triggers'), DEFINER_HOST];
}

/** The same, quoted. */
export function triggerDefiner(database: string): string {
  return triggerAccount(database).map(literal).join('@');
}

async function createDefiner(
  client: Client,
  database: string,
  [suffix, rights]: readonly [suffix: string, rights: string],
): Promise<string> {
  const account = await claimAccount(client, database, accountName(database, suffix), DEFINER_HOST);
  const password = literal(randomBytes(24).toString('base64url'));
  await withoutText(() =>
    client.run(`CREATE USER IF NOT EXISTS ${account} IDENTIFIED BY ${password} ACCOUNT LOCK`),
  );
  await grant(client, { database, account, rights });
  return account;
}

/** A condition that holds in triggers for all but the account of this session, which applies. */
export async function unlessApplier(client: Client): Promise<string> {
  const { own } = await client.row<{ own: string }>(
    `SELECT HEX(SUBSTRING_INDEX(USER(), '@', 1)) AS own`,
  );
  return `${SESSION_ACCOUNT} <> X'${own}'`;
}

const applierTable = (database: string): string => quote(companionName(database), 'applier');

/** In bytes, as accounts are told apart. */
const SESSION_ACCOUNT = `CAST(SUBSTRING_INDEX(USER(), '@', 1) AS BINARY)`;

/**
 * A condition that holds for all but who applies, whoever that is by then: for triggers that are not made
 * anew with the account. It asks a table, which ours are spared.
 */
export function unlessNotedApplier(database: string): string {
  return `NOT EXISTS (SELECT 1 FROM ${applierTable(database)} WHERE name = ${SESSION_ACCOUNT})`;
}

/** From now on it is the account of this session that applies to a rollout. */
export async function noteApplier(client: Client, database: string): Promise<void> {
  const noted = await client.rows(
    `SELECT 1 AS noted FROM ${applierTable(database)} WHERE name = ${SESSION_ACCOUNT}`,
  );
  if (noted.length > 0) return;
  await client.run(
    `INSERT INTO ${applierTable(database)} (name) VALUES (${SESSION_ACCOUNT})
      ON DUPLICATE KEY UPDATE name = VALUES(name)`,
  );
  await client.run(`GRANT SELECT ON ${applierTable(database)} TO ${triggerDefiner(database)}`);
}

async function grant(
  client: Client,
  what: { readonly database: string; readonly account: string; readonly rights: string },
): Promise<void> {
  const { database, account, rights } = what;
  await client.run(`REVOKE ALL PRIVILEGES, GRANT OPTION FROM ${account}`);
  await client.run(`GRANT ${rights} ON ${quoteForGrant(database)}.* TO ${account}`);
}

/** Lists it as ours, unless it is somebody else's: TARGET_NOT_OURS. Returns it quoted. */
async function claimAccount(
  client: Client,
  database: string,
  name: string,
  host: string,
): Promise<string> {
  const ours = await ownAccounts(client, database);
  if (!ours.some((account) => account.name === name)) {
    if (await accountExists(client, name)) throw notOurAccount(name, database);
    await client.run(`INSERT INTO ${accountTable(database)} (name, host) VALUES (?, ?)`, [
      ...[name, host],
    ]);
  }
  return `${literal(name)}@${literal(host)}`;
}

const accountTable = (database: string): string => quote(companionName(database), 'account');

interface Account {
  readonly name: string;
  readonly host: string;
}

async function ownAccounts(client: Client, database: string): Promise<readonly Account[]> {
  try {
    return await client.rows<Account>(`SELECT name, host FROM ${accountTable(database)}`);
  } catch (error) {
    if (hasErrno(error, ERRNO.noSuchTable, ERRNO.unknownDatabase)) return [];
    throw error;
  }
}

/** Of any host. */
async function accountExists(client: Client, name: string): Promise<boolean> {
  return (await client.rows('SELECT 1 AS there FROM mysql.user WHERE User = ?', [name])).length > 0;
}

function notOurAccount(name: string, database: string): UnderstudyError {
  return new UnderstudyError('TARGET_NOT_OURS', `the account '${name}' exists and is not ours`, {
    database,
  });
}

/**
 * Drops the accounts of a rollout and ends their sessions, which would go on without. `role`: the
 * candidate's, which is not dropped, but TARGET_NOT_OURS, if it is there and not listed.
 */
export async function dropAccounts(
  client: Client,
  database: string,
  role: string | null,
): Promise<void> {
  const ours = await ownAccounts(client, database);
  for (const { name, host } of ours) {
    await client.run(`DROP USER IF EXISTS ${literal(name)}@${literal(host)}`);
  }
  await endSessions(
    client,
    ours.map(({ name }) => name),
  );
  const name = role === null ? null : accountName(role);
  if (name !== null && (await accountExists(client, name))) throw notOurAccount(name, database);
}

/** `must`: APPLY_BLOCKED if one stays. */
async function endSessions(client: Client, names: readonly string[], must = false): Promise<void> {
  if (names.length === 0) return;
  const deadline = performance.now() + END_WAIT_MS;
  for (;;) {
    const sessions = await client.rows<{ id: string }>(
      `SELECT ID AS id FROM information_schema.PROCESSLIST
        WHERE USER IN (${names.map(literal).join(', ')})`,
    );
    if (sessions.length === 0) return;
    if (performance.now() > deadline) {
      if (!must) return;
      const what = 'a session of the migration does not end';
      throw new UnderstudyError('APPLY_BLOCKED', what, {
        detail: `its id is ${sessions[0]?.id ?? ''}`,
      });
    }
    for (const { id } of sessions) {
      try {
        await client.run(`KILL CONNECTION ${id}`);
      } catch (error) {
        if (!hasErrno(error, ERRNO.noSuchThread)) throw error;
      }
    }
    await sleep(POLL_MS);
  }
}

/** As the server stores it, so that the password itself is in no statement and no log. */
function nativeHash(password: string): string {
  const once = createHash('sha1').update(password).digest();
  return `*${createHash('sha1').update(once).digest('hex').toUpperCase()}`;
}

/** The driver's errors hold the statement, and this one holds a password. */
async function withoutText<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const found = serverError(error);
    if (found !== null) Reflect.deleteProperty(found, 'sql');
    throw error;
  }
}
