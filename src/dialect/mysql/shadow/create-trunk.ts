import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { BACKUP_MARK } from '../../copying.ts';
import type { PlanTrigger, ShadowPlan } from '../../../schema/shadow-plan.ts';
import { runPlan, sourceDatabase } from '../schema/apply-plan.ts';
import type { ServerAddress } from '../session/address.ts';
import { transaction, type Client } from '../session/client.ts';
import { NOW_US } from '../session/clock.ts';
import { Connection } from '../session/connection.ts';
import { migrate } from '../session/migrations.ts';
import { companionName, quote } from '../session/names.ts';
import { lockWork } from '../session/server-locks.ts';
import { startFence } from './fence.ts';
import { databaseExists, isEmpty, notOurs, readMarker } from './marker.ts';
import { startProgress } from './progress.ts';
import { putAside } from './triggers-aside.ts';
import { SHADOW_MIGRATIONS } from './schema-shadow.ts';

/** How long another process may take that makes the same trunk. */
const WAIT_MS = 600_000;

export interface TrunkOptions {
  readonly name: string;
  readonly topicPrefix: string;
  readonly plan: ShadowPlan;
  readonly bootstrap?: boolean;
  readonly restored?: boolean;
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Makes the trunk: first the marker, which says that it is being made, then the plan's schema, and
 * last the note that all is there. One that a crash left unfinished is dropped and made again. If
 * another process made it meanwhile, nothing is done. With `restored` the database is there with all
 * that is in it, of which no table is ever dropped. Errors: BACKUP_MISSING; TARGET_NOT_OURS if a database with
 * the trunk's name, or its companion's, is not empty and not ours; CONFIG_INVALID if the plan is
 * not of one database; SCHEMA_FAILED, after which both databases are gone again.
 */
export async function createTrunk(
  address: ServerAddress,
  options: TrunkOptions,
): Promise<{ readonly skipped: readonly string[] }> {
  const { name, plan } = options;
  const source = sourceDatabase(plan);
  await using server = new Connection({ address, database: null });
  const what = { doing: 'create the trunk', otherwise: 'SCHEMA_FAILED' } as const;
  return await server.use(what, async (client) => {
    await lockWork(client, name, WAIT_MS);
    if (options.restored === true) {
      if (!(await findRestored(client, name))) return { skipped: [] };
      const skipped = await quietRestored(client, name);
      // Ready at once: what is not finished is dropped.
      await mark(client, { ...options, source, state: 'ready', triggers: [] });
      return { skipped };
    }
    if (!(await makeRoom(client, name))) return { skipped: [] };
    const { triggers = [] } = plan;
    await mark(client, { ...options, source, state: 'creating', triggers });
    try {
      await client.run(`CREATE DATABASE IF NOT EXISTS ${quote(name)}`);
      const skipped = await fill(address, options);
      await client.run(`UPDATE ${quote(companionName(name), 'marker')} SET state = 'ready'`);
      return skipped;
    } catch (error) {
      await dropUnfinished(client, name, error);
      throw error;
    }
  });
}

/** False if the trunk is there already. Else nothing of value has its name. */
async function makeRoom(client: Client, name: string): Promise<boolean> {
  const found = await readMarker(client, name);
  if (found === null) {
    const why = 'a database of this name exists, is not empty, and has no marker';
    for (const database of [name, companionName(name)]) {
      if (!(await isFree(client, database))) throw notOurs(database, why);
    }
    return true;
  }
  if (found.writtenFor !== name || found.marker.kind !== 'trunk') {
    throw notOurs(name, `it is the ${found.marker.kind} ${found.marker.name}`);
  }
  if (found.state === 'ready' && (await databaseExists(client, name))) return false;
  await dropDatabases(client, name);
  return true;
}

/** A person's database. False if it is ours already. */
async function findRestored(client: Client, name: string): Promise<boolean> {
  const found = await readMarker(client, name);
  if (found !== null && found.state === 'creating') {
    throw notOurs(name, 'a trunk of this name was begun by another way, and is not finished');
  }
  if (found !== null && (found.writtenFor !== name || found.marker.kind !== 'trunk')) {
    throw notOurs(name, `it is the ${found.marker.kind} ${found.marker.name}`);
  }
  if (!(await databaseExists(client, name)) || (await isEmpty(client, name))) {
    const what = 'there is no backup in the database that is to be the trunk';
    throw new UnderstudyError('BACKUP_MISSING', what, { database: name });
  }
  if (found !== null) return false;
  const companion = companionName(name);
  if (await isFree(client, companion)) return true;
  throw notOurs(companion, 'a database of this name exists, is not empty, and has no marker');
}

/**
 * Triggers bring effects that the log brings itself, and cannot be kept from firing; events would
 * change rows by themselves. Neither is made by a plan of production.
 */
async function quietRestored(client: Client, name: string): Promise<readonly string[]> {
  const acting = await client.rows<{ readonly what: string; readonly name: string }>(
    `SELECT 'TRIGGER' AS what, TRIGGER_NAME AS name FROM information_schema.TRIGGERS
      WHERE TRIGGER_SCHEMA = ?
    UNION ALL
    SELECT 'EVENT', EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = ?`,
    [name, name],
  );
  for (const found of acting) await client.run(`DROP ${found.what} ${quote(name, found.name)}`);
  return acting.map((found) => {
    const why = 'it was dropped from the backup, since the log brings its effects';
    return `${found.what.toLowerCase()} ${found.name}: ${why}`;
  });
}

/** Absent, empty, or with nothing but our own tables, which bear no marker yet. */
export async function isFree(client: Client, database: string): Promise<boolean> {
  if (!(await databaseExists(client, database)) || (await isEmpty(client, database))) return true;
  if (!database.endsWith(companionName(''))) return false;
  const tables = await client.rows<{ name: string }>(
    'SELECT TABLE_NAME AS name FROM information_schema.TABLES WHERE TABLE_SCHEMA = ?',
    [database],
  );
  return tables.every(({ name }) => OUR_TABLES.has(name));
}

const OUR_TABLES: ReadonlySet<string> = new Set([
  'migration',
  ...SHADOW_MIGRATIONS.flatMap(({ statements }) =>
    statements.flatMap((sql) => /\bTABLE IF NOT EXISTS \{db\}\.(\w+)/.exec(sql)?.[1] ?? []),
  ),
]);

/** Our tables with their first rows. From here on the databases are ours, and may be dropped. */
async function mark(
  client: Client,
  options: TrunkOptions & {
    readonly source: string;
    readonly state: 'creating' | 'ready';
    readonly triggers: readonly PlanTrigger[];
  },
): Promise<void> {
  const { name, topicPrefix, source, state, triggers } = options;
  const companion = companionName(name);
  await client.run(`CREATE DATABASE IF NOT EXISTS ${quote(companion)} CHARACTER SET utf8mb4`);
  await migrate(client, SHADOW_MIGRATIONS, companion);
  await transaction(client, async () => {
    await client.run(
      `INSERT INTO ${quote(companion, 'marker')}
        (id, kind, name, \`database\`, source_database, topic_prefix, state)
        VALUES (UUID(), 'trunk', ?, ?, ?, ?, ?)`,
      [name, name, source, topicPrefix, state],
    );
    await putAside(client, name, triggers);
    await startFence(client, name);
    await startProgress(client, name);
    if (options.bootstrap === true || options.restored === true) {
      await client.run(
        `INSERT INTO ${quote(companion, 'bootstrap')} (started_us, mark) VALUES (${NOW_US}, ?)`,
        [options.restored === true ? BACKUP_MARK : null],
      );
    }
  });
}

async function fill(
  address: ServerAddress,
  { name, plan, onProgress }: TrunkOptions,
): Promise<{ readonly skipped: readonly string[] }> {
  await using inside = new Connection({ address, database: name });
  const what = { doing: 'make the schema', otherwise: 'SCHEMA_FAILED' } as const;
  return await inside.use(what, (client) => runPlan(client, name, plan, onProgress));
}

/** The marker goes last, so that what a crash leaves is still known as ours. */
export async function dropDatabases(client: Client, name: string): Promise<void> {
  await client.run(`DROP DATABASE IF EXISTS ${quote(name)}`);
  await client.run(`DROP DATABASE IF EXISTS ${quote(companionName(name))}`);
}

/** After `reason`. What cannot be dropped now keeps its note and is dropped at the next try. */
async function dropUnfinished(client: Client, name: string, reason: unknown): Promise<void> {
  try {
    await dropDatabases(client, name);
  } catch (error) {
    throw new UnderstudyError(
      'SCHEMA_FAILED',
      'the trunk could not be made, and what was made could not be dropped',
      { database: name },
      new AggregateError([reason, error]),
    );
  }
}
