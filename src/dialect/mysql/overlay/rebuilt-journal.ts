/** Journals made anew from what was kept of production's image, beside tables that a migration changed. */
import type { Reshaped } from '../../sql/reshaped.ts';
import { duplicatedKey } from '../apply/apply-error.ts';
import { LENIENT_MODE, SQL_MODE, withSettings, type Client } from '../session/client.ts';
import { ERRNO, hasErrno, isConnectionLoss, serverError } from '../session/errors.ts';
import { companionName, JOURNAL, journalName, nextJournalName, quote } from '../session/names.ts';
import { sameImage } from './images.ts';
import {
  createJournal,
  ownColumns,
  readJournalColumns,
  replaceJournal,
  shapeOf,
  type CapturedTable,
} from './journal.ts';
import { keptRelation, readDefaults } from './reshapes.ts';

export async function journalIsThere(
  client: Client,
  database: string,
  table: string,
): Promise<boolean> {
  const found = await client.rows(
    'SELECT 1 AS found FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?',
    [companionName(database), journalName(table)],
  );
  return found.length > 0;
}

/**
 * The journal of a table that production's rows still come to: an entry for each row that differs from
 * production's in what both have. What only the candidate has is in the images as it is in the rows, so that
 * what a migration fills a new column with makes no row the candidate's. Values are cast into
 * the table's types, and a column is left out whose values the server casts into none.
 * Null where the table holds two rows of production's for one: nothing of them can reach it.
 */
export async function rebuildAsImage(
  client: Client,
  database: string,
  table: CapturedTable,
  reshaped: Reshaped,
): Promise<Reshaped | null> {
  const next = await beginNext(client, database, table);
  const columns = await fill(client, { database, table, next }, reshaped);
  if (columns === null) return null;
  const ours = new Set(columns.values());
  const both = table.columns.filter(({ schema }) => ours.has(schema.name));
  const only = table.columns.filter(({ schema }) => !ours.has(schema.name));
  const on = sameKeys(table, 'n', 't');
  const [key] = table.key;
  await client.run(
    `INSERT INTO ${next} (${table.key.map(({ name }) => name).join(', ')}, ${JOURNAL.present})
      SELECT ${table.key.map(({ name }) => `t.${name}`).join(', ')}, 0
      FROM ${table.relation} t LEFT JOIN ${next} n ON ${on} WHERE n.${key?.name ?? ''} IS NULL`,
  );
  await client.run(
    `DELETE n FROM ${next} n JOIN ${table.relation} t ON ${on}
      WHERE n.${JOURNAL.present} = 1 AND ${sameImage(both, 'n', 't')}`,
  );
  const defaults = await readDefaults(client, database, table, { ...reshaped, columns });
  for (const { name, schema } of only) {
    // Of rows that the candidate deleted there is nothing but the default.
    await client.run(
      `UPDATE ${next} n LEFT JOIN ${table.relation} t ON ${on}
        SET n.${name} = IF(t.${key?.name ?? ''} IS NULL, ${defaults.get(schema.name) ?? 'NULL'}, t.${name})
        WHERE n.${JOURNAL.present} = 1`,
    );
  }
  await endNext(client, database, table, next);
  return { ...reshaped, columns };
}

/** The journal of a table that only the candidate has: all of its rows are its inserts. */
export async function rebuildAsOwn(
  client: Client,
  database: string,
  table: CapturedTable,
): Promise<void> {
  const next = await beginNext(client, database, table);
  const key = table.key.map(({ name }) => name).join(', ');
  await client.run(
    `INSERT INTO ${next} (${key}, ${JOURNAL.present}) SELECT ${key}, 0 FROM ${table.relation}`,
  );
  await endNext(client, database, table, next);
}

interface Next {
  readonly database: string;
  readonly table: CapturedTable;
  readonly next: string;
}

/** All that was kept. Returns which column is which; null if two rows have one key. */
async function fill(
  client: Client,
  { database, table, next }: Next,
  reshaped: Reshaped,
): Promise<Reshaped['columns'] | null> {
  const { schema, columns } = reshaped;
  const types = new Map(schema.columns.map((column) => [column.name, column.type.sql]));
  const typesNow = new Map(table.columns.map((one) => [one.schema.name, one.schema.type.sql]));
  const insert = (pairs: Reshaped['columns']): Promise<unknown> => {
    const some = [...pairs].flatMap(([from, to]) => (to === null ? [] : [[from, to] as const]));
    return client.run(
      `INSERT INTO ${next} (${some.map(([, to]) => quote(to)).join(', ')}, ${JOURNAL.present})
        SELECT ${some.map(([from]) => `k.${quote(from)}`).join(', ')}, 1
        FROM ${keptRelation(database, schema.id.name)} k`,
    );
  };
  const isSame = (from: string, to: string | null): boolean =>
    to !== null && types.get(from) === typesNow.get(to);
  const isPlain = [...columns].every(([from, to]) => to === null || isSame(from, to));
  try {
    if (isPlain) await insert(columns);
    else {
      const settings = (mode: string): string => `sql_mode = '${mode}'`;
      await withSettings(client, settings(LENIENT_MODE), settings(SQL_MODE), () => insert(columns));
    }
    return columns;
  } catch (error) {
    if (serverError(error) === null || isConnectionLoss(error)) throw error;
    if (duplicatedKey(error) !== null) return null;
    const key = new Set(schema.key);
    const cut = new Map(
      [...columns].map(([from, to]) => [from, key.has(from) || isSame(from, to) ? to : null]),
    );
    if ([...cut.values()].join('\0') === [...columns.values()].join('\0')) throw error;
    return fill(client, { database, table, next }, { ...reshaped, columns: cut });
  }
}

function sameKeys({ key }: CapturedTable, left: string, right: string): string {
  return key.map(({ name }) => `${left}.${name} = ${right}.${name}`).join(' AND ');
}

async function beginNext(client: Client, database: string, table: CapturedTable): Promise<string> {
  const next = quote(companionName(database), nextJournalName(table.schema.id.name, 'next'));
  await client.run(`DROP TABLE IF EXISTS ${next}`);
  await client.run(`${createJournal(table, next)} COMMENT '${shapeOf(table)}'`);
  return next;
}

/** With what the entries of before tell beside images. */
async function endNext(
  client: Client,
  database: string,
  table: CapturedTable,
  next: string,
): Promise<void> {
  const { name } = table.schema.id;
  if (!(await journalIsThere(client, database, name))) {
    await client.run(`RENAME TABLE ${next} TO ${table.journal}`);
    return;
  }
  const keys = (await readJournalColumns(client, database, table)).filter(({ isKey }) => isKey);
  if (keys.length === table.key.length) {
    const own = await ownColumns(client, database, journalName(name));
    const told = own.filter((column) => column !== JOURNAL.present);
    const on = table.key.map((key, i) => `j.${quote(keys[i]?.name ?? '')} = n.${key.name}`);
    // Beside a row that is seen nobody knows who wrote it last: what was kept out is the candidate's then.
    const isSeen = `t.${table.key[0]?.name ?? ''} IS NOT NULL`;
    const values = told.map((column) => {
      if (column === JOURNAL.blocked || column === JOURNAL.detail) {
        return `n.${column} = IF(${isSeen}, NULL, j.${column})`;
      }
      if (column !== JOURNAL.conflict || !own.includes(JOURNAL.blocked))
        return `n.${column} = j.${column}`;
      return `n.${column} = IF(${isSeen} AND j.${JOURNAL.blocked} IS NOT NULL, 'update_differs', j.${column})`;
    });
    try {
      await client.run(
        `UPDATE ${next} n JOIN ${table.journal} j ON ${on.join(' AND ')}
          LEFT JOIN ${table.relation} t ON ${sameKeys(table, 'n', 't')} SET ${values.join(', ')}`,
      );
    } catch (error) {
      // Keys that compare otherwise than before: when and for whom rows were written is not known any more.
      if (!hasErrno(error, ERRNO.mixedCollations)) throw error;
    }
  }
  await replaceJournal(client, database, table, next);
}
