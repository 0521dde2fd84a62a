/** Tables that got other names: what is kept by their names goes with them. */
import type { TableRenamed } from '../../../schema/schema-change.ts';
import { placeFrom, placeText, type TableRename } from '../../../schema/table-renames.ts';
import { transaction, type Client } from '../session/client.ts';
import { companionName, quote } from '../session/names.ts';

/** Those that are done. */
export async function readRenames(
  client: Client,
  database: string,
): Promise<readonly TableRename[]> {
  const rows = await client.rows<Record<'fs' | 'fn' | 'ts' | 'tn' | 'place', string>>(
    `SELECT from_schema AS fs, from_name AS fn, to_schema AS ts, to_name AS tn, until_place AS place
      FROM ${tableOf(database)} WHERE done = 1 ORDER BY seq`,
  );
  return rows.map(({ fs, fn, ts, tn, place }) => ({
    from: { schema: fs, name: fn },
    to: { schema: ts, name: tn },
    until: placeFrom(place),
  }));
}

export async function saveRename(
  client: Client,
  database: string,
  { from, to, until }: TableRename,
  done = true,
): Promise<void> {
  await client.run(
    `INSERT INTO ${tableOf(database)} (from_schema, from_name, to_schema, to_name, until_place, done)
      VALUES (?, ?, ?, ?, ?, ?)`,
    [from.schema, from.name, to.schema, to.name, placeText(until), done ? 1 : 0],
  );
}

/**
 * Says, before the table is renamed, that it is to be. Whoever comes after a crash knows by that whether a
 * table of the new name is this one. True if it had been said before.
 */
export async function announceRename(
  client: Client,
  database: string,
  change: TableRenamed,
): Promise<boolean> {
  const rows = await client.rows<{ readonly toName: string }>(
    `SELECT to_name AS toName FROM ${tableOf(database)}
      WHERE done = 0 AND from_schema = ? AND from_name = ? AND to_schema = ? AND to_name = ?`,
    [change.from.schema, change.from.name, change.table.schema, change.table.name],
  );
  if (rows.length > 0) return true;
  const { from, table: to, until } = change;
  const place = until ?? { connector: 'mysql', file: null, pos: null, row: 0, gtid: null };
  await saveRename(client, database, { from, to, until: place }, false);
  return false;
}

/** After the table got its new name: all that is noted of it is of that name. */
export async function moveNotes(
  client: Client,
  database: string,
  change: TableRenamed,
): Promise<void> {
  const { from, table: to } = change;
  const names = await client.rows<{ readonly name: string }>(
    `SELECT TABLE_NAME AS name FROM information_schema.COLUMNS
      WHERE TABLE_SCHEMA = ? AND COLUMN_NAME IN ('table_schema', 'table_name')
      GROUP BY TABLE_NAME HAVING COUNT(*) = 2 ORDER BY 1`,
    [companionName(database)],
  );
  await transaction(client, async () => {
    for (const { name } of names) {
      const notes = quote(companionName(database), name);
      // What is noted of the new name was of another table, which is no more.
      await client.run(`DELETE FROM ${notes} WHERE table_schema = ? AND table_name = ?`, [
        to.schema,
        to.name,
      ]);
      await client.run(
        `UPDATE ${notes} SET table_schema = ?, table_name = ?
          WHERE table_schema = ? AND table_name = ?`,
        [to.schema, to.name, from.schema, from.name],
      );
    }
    const own = [from.schema, from.name, to.schema, to.name];
    const isOwn = `done = 0 AND from_schema = ? AND from_name = ? AND to_schema = ? AND to_name = ?`;
    await client.run(
      change.until === null
        ? `DELETE FROM ${tableOf(database)} WHERE ${isOwn}`
        : `UPDATE ${tableOf(database)} SET done = 1 WHERE ${isOwn}`,
      own,
    );
  });
}

function tableOf(database: string): string {
  return quote(companionName(database), 'renamed_table');
}
