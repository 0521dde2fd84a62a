/**
 * Copies the tables of a database into another one on the same server, over several connections: each
 * table by a statement, or where it is large by ranges of its key. Nobody may write to them meanwhile,
 * since each statement reads what is committed when it begins.
 */
import type { TableId } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { ActingTriggers } from '../../overlay.ts';
import { prepareActs } from '../apply/apply.ts';
import { readTables, type DatabaseTables } from '../catalogue/catalogue.ts';
import { evenly, numberedBy } from '../catalogue/cut.ts';
import { indexesOn } from '../production/defined.ts';
import { moveDefinition, type Move } from '../schema/moved-names.ts';
import type { ServerAddress } from '../session/address.ts';
import { Client, LENIENT_MODE, SQL_MODE, withSettings } from '../session/client.ts';
import type { Flavour } from '../session/flavour.ts';
import { literal, presenceLock, quote, type HolderRole } from '../session/names.ts';
import { claimPlace, endHolders } from '../session/server-locks.ts';

const COPIERS = 4;

export interface CloneLimits {
  /** About what one statement copies of a table that can be cut. */
  readonly rangeBytes: number;
  /** Of a table from this size on, what is not unique is indexed when its rows are in. */
  readonly lateBytes: number;
}

export const CLONE_LIMITS: CloneLimits = {
  rangeBytes: 64 * 1024 * 1024,
  lateBytes: 16 * 1024 * 1024,
};

const LOCK_WAIT_S = 30;
/** How long it is waited for sessions of a copy that was given up. */
const END_WAIT_MS = 30_000;

/** As definitions are written by the servers: with backslashes that escape. */
const DEFINING = 'ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION';

/** Runs a statement that a server wrote, or that was written under another mode than our sessions'. */
export async function define(client: Client, sql: string, sqlMode = DEFINING): Promise<void> {
  const settings = `sql_mode = ${literal(sqlMode)}, foreign_key_checks = 0`;
  await withSettings(client, settings, `sql_mode = '${SQL_MODE}'`, () => client.run(sql));
}

export interface ClonePlace extends Move {
  readonly address: ServerAddress;
  readonly flavour: Flavour;
  /** Name of the followed database in production. */
  readonly source: string;
  readonly limits: CloneLimits;
  readonly acts: ActingTriggers | null;
}

interface CopiedTable {
  readonly name: string;
  /** Quoted: all but generated ones, which the copy computes itself. */
  readonly columns: readonly string[];
  readonly bytes: number;
  /** Conditions that together hold for every row once. */
  readonly ranges: readonly string[];
  /** Of an ALTER TABLE, when all rows are in: indexes. */
  readonly late: readonly string[];
  /** Of another one, when nothing else is done to any table: foreign keys. */
  readonly references: readonly string[];
}

/** `client` makes the tables; its default database is the copy. Errors are the driver's, or ours. */
export async function copyTables(client: Client, place: ClonePlace): Promise<void> {
  const tables = await makeTables(client, place);
  const rows = tables.flatMap((table) => {
    let left = table.ranges.length;
    return table.ranges.map((where) => ({
      bytes: table.bytes / table.ranges.length,
      run: async (copier: Client): Promise<void> => {
        await copyRange(copier, place, table, where);
        left -= 1;
        if (left > 0) return;
        await addLate(copier, place, table.name, table.late);
        await prepareMode(copier);
      },
    }));
  });
  await inCopiers(
    place,
    rows.toSorted((a, b) => b.bytes - a.bytes).map(({ run }) => run),
  );
  // One at a time, and beside no index that is made: MariaDB 11.8 refuses at times with error 1825
  // what it would take alone, and has crashed.
  for (const { name, references } of tables) await addLate(client, place, name, references);
}

async function makeTables(client: Client, place: ClonePlace): Promise<readonly CopiedTable[]> {
  const { from, to, source } = place;
  const tables = await readTables(client, from, source);
  const sizes = await readSizes(client, place);
  const made: CopiedTable[] = [];
  for (const { id, columns } of tables.catalogue.values()) {
    const { name } = id;
    const relation = quote(from, name);
    const shown = await client.row<Record<string, string>>(`SHOW CREATE TABLE ${relation}`);
    const definition = moveDefinition(shown['Create Table'] ?? '', { from, to });
    if (definition === null) throw notMovable(`table ${name}`, from);
    const bytes = sizes.get(name) ?? 0;
    const { sql, ...later } =
      bytes < place.limits.lateBytes
        ? { sql: definition, late: [], references: [] }
        : split(definition);
    await define(client, sql);
    made.push({
      ...{ name, bytes, ...later, ranges: await ranges(client, place, { tables, id, bytes }) },
      columns: columns
        .filter(({ generated }) => generated === 'no')
        .map((column) => quote(column.name)),
    });
  }
  return made;
}

/** Also sequences are in there, which no table is. */
async function readSizes(
  client: Client,
  { from, flavour }: ClonePlace,
): Promise<ReadonlyMap<string, number>> {
  // Else it tells what it found some day.
  if (flavour.engine === 'mysql')
    await client.run('SET SESSION information_schema_stats_expiry = 0');
  const rows = await client.rows<{ name: string; type: string; bytes: string | null }>(
    `SELECT TABLE_NAME AS name, TABLE_TYPE AS type, DATA_LENGTH AS bytes
      FROM information_schema.TABLES WHERE TABLE_SCHEMA = ?`,
    [from],
  );
  const strange = rows.find(({ type }) => !/^(BASE TABLE|SYSTEM VERSIONED|VIEW)$/.test(type));
  if (strange !== undefined) {
    throw new UnderstudyError('UNSUPPORTED', 'the trunk has what a rollout cannot be made with', {
      database: from,
      detail: `${strange.name} is a ${strange.type.toLowerCase()}: drop it from the trunk`,
    });
  }
  return new Map(rows.map(({ name, bytes }) => [name, Number(bytes ?? 0)]));
}

async function ranges(
  client: Client,
  { from, limits }: ClonePlace,
  table: {
    readonly tables: DatabaseTables;
    readonly id: TableId;
    readonly bytes: number;
  },
): Promise<readonly string[]> {
  const parts = Math.ceil(table.bytes / limits.rangeBytes);
  const column = numberedBy(table.tables, table.id);
  if (parts <= 1 || column === null) return [''];
  return evenly(client, { relation: quote(from, table.id.name), column, parts });
}

/**
 * Without its foreign keys and the indexes that nothing needs while rows come in. The servers print
 * one column, key or constraint a line.
 */
function split(
  definition: string,
): Pick<CopiedTable, 'late' | 'references'> & { readonly sql: string } {
  const numbered = new Set(indexesOn(definition));
  const lines = definition.split('\n');
  const end = lines.findIndex((line) => line.startsWith(')'));
  const late: string[] = [];
  const references: string[] = [];
  const kept: string[] = [];
  for (const line of lines.slice(1, end)) {
    const bare = line.trim().replace(/,$/, '');
    const isIndex = bare.startsWith('KEY ') && !numbered.has(bare);
    const isReference = /^CONSTRAINT `(?:[^`]|``)+` FOREIGN KEY /.test(bare);
    if (isIndex) late.push(`ADD ${bare}`);
    else if (isReference) references.push(`ADD ${bare}`);
    else kept.push(bare);
  }
  const sql = [lines[0] ?? '', kept.join(',\n'), ...lines.slice(end)].join('\n');
  return { sql, late, references };
}

async function copyRange(
  client: Client,
  { from, to }: Move,
  { name, columns }: CopiedTable,
  where: string,
): Promise<void> {
  const list = columns.join(', ');
  await client.run(
    `INSERT INTO ${quote(to, name)} (${list}) SELECT ${list} FROM ${quote(from, name)}
      ${where === '' ? '' : `WHERE ${where}`}`,
  );
}

async function addLate(
  client: Client,
  { to }: Move,
  name: string,
  what: readonly string[],
): Promise<void> {
  if (what.length > 0) await define(client, `ALTER TABLE ${quote(to, name)} ${what.join(', ')}`);
}

/** What production's rows hold is taken; between columns of one type nothing is cut. */
async function prepareMode(client: Client): Promise<void> {
  await client.run(`SET SESSION sql_mode = '${LENIENT_MODE}'`);
}

type Task = (client: Client) => Promise<void>;

/** Runs the tasks, each once. After a failure no more are begun, and all have ended when it rejects. */
async function inCopiers(place: ClonePlace, tasks: readonly Task[]): Promise<void> {
  const waiting = tasks.values();
  let failed = false;
  const copiers = Array.from({ length: Math.min(COPIERS, tasks.length) }, async (_, i) => {
    try {
      const client = await openCopier(place, i);
      try {
        for (const task of waiting) {
          if (failed) return;
          await task(client);
        }
      } finally {
        await client.end();
      }
    } catch (error) {
      failed = true;
      throw error;
    }
  });
  const outcomes = await Promise.allSettled(copiers);
  const failure = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failure !== undefined) throw failure.reason;
}

async function openCopier({ address, flavour, to }: ClonePlace, i: number): Promise<Client> {
  const client = await Client.connect(address, to);
  try {
    await prepareActs(client, flavour);
    await prepareMode(client);
    // Not of REPEATABLE READ, where what is copied from is locked, and read as it is then.
    await client.run('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
    await client.run(`SET SESSION innodb_lock_wait_timeout = ${String(LOCK_WAIT_S)}`);
    await claimPlace(client, copierLock(to, i), to);
    return client;
  } catch (error) {
    client.destroy();
    throw error;
  }
}

/** Of a database that nobody has held yet. */
function copierLock(to: string, i: number): string {
  const role: HolderRole = `copy${i}`;
  return presenceLock(to, 0n, role);
}

/**
 * Ends the sessions of a copy whose process was stopped, or is gone: what they write would come into
 * tables that are made anew under the same names.
 */
export async function endCopiers(client: Client, to: string): Promise<void> {
  const locks = Array.from({ length: COPIERS }, (_, i) => copierLock(to, i));
  await endHolders(client, locks, END_WAIT_MS);
}

/** SCHEMA_FAILED: a text that names its database cannot be made to name the copy for sure. */
export function notMovable(what: string, from: string): UnderstudyError {
  const message = `cannot tell what names in ${what} stand for in a copy of its database`;
  return new UnderstudyError('SCHEMA_FAILED', message, {
    database: from,
    detail: `it names '${from}', and something else is called so, or texts in it are run`,
  });
}
