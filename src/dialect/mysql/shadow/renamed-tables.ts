/** Tables that got other names: what is kept by their names goes with them. */
import { tableName } from '../../../change/table-id.ts';
import type { TableRenamed } from '../../../schema/schema-change.ts';
import { placeFrom, placeText, type TableRename } from '../../../schema/table-renames.ts';
import type { SchemaCatalogue } from '../../../schema/table-schema.ts';
import { transaction, type Client } from '../session/client.ts';
import { companionName, quote } from '../session/names.ts';

/** Those that are done; or those that may be. */
export async function readRenames(
  client: Client,
  database: string,
  done = true,
): Promise<readonly TableRename[]> {
  const rows = await client.rows<Record<'fs' | 'fn' | 'ts' | 'tn' | 'place' | 'turn', string>>(
    `SELECT from_schema AS fs, from_name AS fn, to_schema AS ts, to_name AS tn, until_place AS place, turn
      FROM ${tableOf(database)} WHERE done = ${done ? '1' : '0'} ORDER BY turn, seq`,
  );
  return rows.map(({ fs, fn, ts, tn, place, turn }) => ({
    from: { schema: fs, name: fn },
    to: { schema: ts, name: tn },
    until: placeFrom(place),
    turn: BigInt(turn),
  }));
}

export async function saveRename(
  client: Client,
  database: string,
  { from, to, until, turn }: TableRename,
  done = true,
): Promise<void> {
  await client.run(
    `INSERT INTO ${tableOf(database)} (from_schema, from_name, to_schema, to_name, until_place, turn, done)
      VALUES (?, ?, ?, ?, ?, ?, ?)`,
    [from.schema, from.name, to.schema, to.name, placeText(until), turn, done ? 1 : 0],
  );
}

/**
 * Says, before the table is renamed, that it is to be. Whoever comes after a crash knows by that whether a
 * table of the new name is this one.
 */
export async function announceRename(
  client: Client,
  database: string,
  change: TableRenamed,
): Promise<void> {
  const { from, table: to, until, turn } = change;
  const place = until ?? { connector: 'mysql', file: null, pos: null, row: 0, gtid: null };
  await transaction(client, async () => {
    // One that was begun and given up may have another place than this.
    await client.run(`DELETE FROM ${tableOf(database)} WHERE ${IS_BEGUN}`, ownOf(change));
    await saveRename(client, database, { from, to, until: place, turn }, false);
  });
}

/** Of tables that got their names before a crash. */
export async function finishRenames(
  client: Client,
  database: string,
  catalogue: SchemaCatalogue,
): Promise<void> {
  for (const { from, to, until, turn } of await readRenames(client, database, false)) {
    if (catalogue.has(tableName(from)) || !catalogue.has(tableName(to))) continue;
    await noteMoved(client, database, {
      kind: 'renameTable',
      table: to,
      from,
      // A person said that it is this table, and nothing tells since when.
      until: 'pos' in until && until.pos === null ? null : until,
      turn,
      why: null,
    });
  }
}

/** After the table got its new name: all that is noted of it is of that name. */
export async function moveNotes(
  client: Client,
  database: string,
  change: TableRenamed,
): Promise<void> {
  await transaction(client, () => noteMoved(client, database, change));
}

async function noteMoved(client: Client, database: string, change: TableRenamed): Promise<void> {
  const { from, table: to } = change;
  const names = await client.rows<{ readonly name: string }>(
    `SELECT TABLE_NAME AS name FROM information_schema.COLUMNS
      WHERE TABLE_SCHEMA = ? AND COLUMN_NAME IN ('table_schema', 'table_name')
        -- Journals hold the users' columns, whatever they are called.
        AND TABLE_NAME NOT LIKE '%#%'
      GROUP BY TABLE_NAME HAVING COUNT(*) = 2 ORDER BY 1`,
    [companionName(database)],
  );
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
  await client.run(
    change.until === null
      ? `DELETE FROM ${tableOf(database)} WHERE ${IS_BEGUN}`
      : `UPDATE ${tableOf(database)} SET done = 1 WHERE ${IS_BEGUN}`,
    ownOf(change),
  );
}

const IS_BEGUN = 'done = 0 AND from_schema = ? AND from_name = ? AND to_schema = ? AND to_name = ?';

function ownOf({ from, table: to }: TableRenamed): readonly string[] {
  return [from.schema, from.name, to.schema, to.name];
}

function tableOf(database: string): string {
  return quote(companionName(database), 'renamed_table');
}
