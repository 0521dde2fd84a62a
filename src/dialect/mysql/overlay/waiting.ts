/**
 * Where production's changes wait whose rows somebody of the candidate's is at: beside each captured table one
 * of images, by the row's key. See dialect/waiting.ts for what holds.
 *
 * So production's image of a row is, in this order: what waits of its key, its entry's image, the row. Only
 * who applies changes any of it, so one snapshot of all three is exact, whatever the candidate holds.
 */
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { WaitingCount } from '../../waiting.ts';
import { createHash } from 'node:crypto';
import type { Client } from '../session/client.ts';
import { companionName, literal, quote, WAITING, waitingName } from '../session/names.ts';
import { imageDefinitions, readCapturedNames, readShape, type CapturedTable } from './journal.ts';

function createWaiting(table: CapturedTable): string {
  return `CREATE TABLE ${table.waiting} (
    ${imageDefinitions(table).join(',\n    ')},
    ${WAITING.present} TINYINT NOT NULL,
    ${WAITING.since} TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    ${WAITING.apart} INT NOT NULL DEFAULT 0,
    ${WAITING.lacks} TEXT CHARACTER SET ascii COLLATE ascii_bin,
    PRIMARY KEY (${table.key.map(({ name }) => name).join(', ')})
  ) ENGINE=InnoDB`;
}

function shapeOf(table: CapturedTable): string {
  return createHash('sha256').update(createWaiting(table)).digest('hex');
}

/**
 * Makes the table where there is none, or one of another shape. What waits is written before a table gets
 * another shape: SCHEMA_FAILED if something waits all the same.
 */
export async function ensureWaiting(
  client: Client,
  database: string,
  table: CapturedTable,
): Promise<void> {
  const name = waitingName(table.schema.id.name);
  const [there, wanted] = [await readShape(client, database, name), shapeOf(table)];
  if (there === wanted) return;
  if (there !== null) {
    if (await isAnyWaiting(client, table)) {
      const what = 'a table changed its shape of which changes wait to be written';
      throw new UnderstudyError('SCHEMA_FAILED', what, { database, table: table.label });
    }
    await client.run(`DROP TABLE ${table.waiting}`);
  }
  await client.run(`${createWaiting(table)} COMMENT '${wanted}'`);
}

/** For a table that goes, or of whose name another one comes to be. */
export async function dropWaiting(client: Client, database: string, table: string): Promise<void> {
  await client.run(`DROP TABLE IF EXISTS ${quote(companionName(database), waitingName(table))}`);
}

/** Is there a captured table without one? Those of older versions are. */
export async function lacksWaiting(client: Client, database: string): Promise<boolean> {
  const [captured, there] = [
    await readCapturedNames(client, database),
    await namesThere(client, database),
  ];
  return [...captured].some((name) => !there.has(waitingName(name)));
}

async function namesThere(client: Client, database: string): Promise<ReadonlySet<string>> {
  const found = await client.rows<{ name: string }>(
    `SELECT TABLE_NAME AS name FROM information_schema.TABLES
      WHERE TABLE_SCHEMA = ? AND TABLE_NAME LIKE '%#waiting'`,
    [companionName(database)],
  );
  return new Set(found.map(({ name }) => name));
}

export async function isAnyWaiting(client: Client, { waiting }: CapturedTable): Promise<boolean> {
  return (await client.rows(`SELECT 1 AS waits FROM ${waiting} LIMIT 1`)).length > 0;
}

/** Notes that something may wait of a table from now on. It stays noted: to look there costs little. */
export async function noteWaiting(client: Client, table: CapturedTable): Promise<void> {
  await client.run(`INSERT IGNORE INTO ${table.companion}.waiting_table (name) VALUES (?)`, [
    table.schema.id.name,
  ]);
}

/** Names of the tables of which something may wait. */
export async function readNoted(client: Client, database: string): Promise<ReadonlySet<string>> {
  const noted = quote(companionName(database), 'waiting_table');
  const found = await client.rows<{ name: string }>(`SELECT name FROM ${noted}`);
  return new Set(found.map(({ name }) => name));
}

/** Of the tables of which keys wait. `source`: production's database. */
export async function countWaiting(
  client: Client,
  database: string,
  source: string,
): Promise<readonly WaitingCount[]> {
  const noted = await readNoted(client, database);
  if (noted.size === 0) return [];
  const there = await namesThere(client, database);
  const parts = [...noted]
    .filter((name) => there.has(waitingName(name)))
    .map(
      (name) => `SELECT ${literal(name)} AS name, COUNT(*) AS \`keys\`,
        COALESCE(TIMESTAMPDIFF(MICROSECOND, MIN(${WAITING.since}), CURRENT_TIMESTAMP(6)), 0) AS us
        FROM ${quote(companionName(database), waitingName(name))}`,
    );
  if (parts.length === 0) return [];
  const counts = await client.rows<{ name: string; keys: string; us: string }>(
    parts.join(' UNION ALL '),
  );
  return counts.flatMap(({ name, keys, us }) =>
    Number(keys) === 0
      ? []
      : [
          {
            table: { schema: source, name },
            keys: Number(keys),
            oldestMs: Math.max(0, Math.round(Number(us) / 1000)),
          },
        ],
  );
}

/** That no change of the row's, or entry's, key waits. */
export function notWaiting(table: Pick<CapturedTable, 'key' | 'waiting'>, alias: string): string {
  const on = table.key.map(({ name }) => `w.${name} = ${alias}.${name}`).join(' AND ');
  return `NOT EXISTS (SELECT 1 FROM ${table.waiting} w WHERE ${on})`;
}

/** Production's rows: `list` over the row, the entry's image and what waits, each by the alias it is asked of. */
export function productionImage(
  table: CapturedTable,
  list: (alias: 't' | 'j' | 'w') => string,
): string {
  const on = table.key.map(({ name }) => `j.${name} = t.${name}`).join(' AND ');
  return `SELECT ${list('t')} FROM ${table.relation} t
      WHERE NOT EXISTS (SELECT 1 FROM ${table.journal} j WHERE ${on}) AND ${notWaiting(table, 't')}
    UNION ALL SELECT ${list('j')} FROM ${table.journal} j
      WHERE j.${WAITING.present} = 1 AND ${notWaiting(table, 'j')}
    UNION ALL SELECT ${list('w')} FROM ${table.waiting} w WHERE w.${WAITING.present} = 1`;
}

/** Of an entry and the row it is of. */
function sameKey({ key }: CapturedTable): string {
  return key.map(({ name }) => `t.${name} = j.${name}`).join(' AND ');
}

/** By what name production's image of an entry's row is told: the entry's own, or what waits of its key. */
export type Image = 'j' | 'w';

/**
 * Entries `j` beside the rows `t` that they are of, with production's image as the alias that is asked for:
 * those of which nothing waits, and then those of which something does.
 */
export function unionOfEntries(
  table: CapturedTable,
  select: (image: Image) => { readonly list: string; readonly where: string },
): string {
  const { journal, relation, keyHint, waiting, key } = table;
  const rows = `LEFT JOIN ${relation} t ${keyHint} ON ${sameKey(table)}`;
  const same = key.map(({ name }) => `j.${name} = w.${name}`).join(' AND ');
  const own = select('j');
  const later = select('w');
  return `SELECT ${own.list} FROM ${journal} j ${rows} WHERE ${own.where} AND ${notWaiting(table, 'j')}
    UNION ALL SELECT ${later.list} FROM ${waiting} w STRAIGHT_JOIN ${journal} j FORCE INDEX FOR JOIN (PRIMARY)
      ON ${same} ${rows} WHERE ${later.where}`;
}
