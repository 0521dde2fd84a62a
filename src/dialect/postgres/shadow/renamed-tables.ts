/** Tables that got other names: what is kept by their names goes with them. */
import { escapeIdentifier, type ClientBase } from 'pg';
import type { TableId } from '../../../change/table-id.ts';
import type { TableRenamed } from '../../../schema/schema-change.ts';
import { placeFrom, placeText, type TableRename } from '../../../schema/table-renames.ts';
import type { Fence } from '../../dialect.ts';
import type { IdentityLedger } from '../../evolving.ts';
import { imageId, OWN_SCHEMA, relation } from '../session/names.ts';
import { readImageTables } from '../overlay/images.ts';
import { columnsFrom } from '../production/identities.ts';

export async function readRenames(client: ClientBase): Promise<readonly TableRename[]> {
  const { rows } = await client.query<Record<'fs' | 'fn' | 'ts' | 'tn' | 'until' | 'turn', string>>(
    `SELECT from_schema AS fs, from_name AS fn, to_schema AS ts, to_name AS tn, until, turn::text AS turn
      FROM understudy.renamed_table r ORDER BY r.turn, seq`,
  );
  return rows.map(({ fs, fn, ts, tn, until, turn }) => ({
    from: { schema: fs, name: fn },
    to: { schema: ts, name: tn },
    until: placeFrom(until),
    turn: BigInt(turn),
  }));
}

export async function saveRename(
  client: ClientBase,
  { from, to, until, turn }: TableRename,
): Promise<void> {
  await client.query(
    `INSERT INTO understudy.renamed_table (from_schema, from_name, to_schema, to_name, until, turn)
      VALUES ($1, $2, $3, $4, $5, $6)`,
    [from.schema, from.name, to.schema, to.name, placeText(until), turn.toString()],
  );
}

/** In the transaction that gave the table its new name: all that is noted of it is of that name. */
export async function moveNotes(client: ClientBase, change: TableRenamed): Promise<void> {
  const { from, table: to } = change;
  const { rows } = await client.query<{ name: string }>(
    `SELECT c.relname AS name FROM pg_catalog.pg_class c
      WHERE c.relnamespace = pg_catalog.to_regnamespace('${OWN_SCHEMA}') AND c.relkind = 'r'
        -- Journals and images hold the users' columns, whatever they are called.
        AND pg_catalog.strpos(c.relname, '#') = 0
        AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = c.oid AND a.attname IN ('table_schema', 'table_name')) = 2
      ORDER BY 1`,
  );
  for (const { name } of rows) {
    const notes = `${OWN_SCHEMA}.${escapeIdentifier(name)}`;
    // What is noted of the new name was of another table, which is no more.
    await client.query(`DELETE FROM ${notes} WHERE table_schema = $1 AND table_name = $2`, [
      to.schema,
      to.name,
    ]);
    await client.query(
      `UPDATE ${notes} SET table_schema = $3, table_name = $4
        WHERE table_schema = $1 AND table_name = $2`,
      [from.schema, from.name, to.schema, to.name],
    );
  }
  const [images, renamed] = [imageId(from), imageId(to)];
  if ((await readImageTables(client)).has(images.name)) {
    await client.query(
      `DROP TABLE IF EXISTS ${relation(renamed)};
        ALTER TABLE ${relation(images)} RENAME TO ${escapeIdentifier(renamed.name)}`,
    );
  }
  if (from.schema !== to.schema) await openSchema(client, from.schema, to.schema);
  if (change.until !== null)
    await saveRename(client, { from, to, until: change.until, turn: change.turn });
}

export function identityLedger(parts: {
  readonly read: <T>(doing: string, fn: (client: ClientBase) => Promise<T>) => Promise<T>;
  readonly act: (
    fence: Fence,
    doing: string,
    fn: (client: ClientBase) => Promise<unknown>,
  ) => Promise<unknown>;
}): IdentityLedger {
  return {
    known: () =>
      parts.read('read which tables these are', async (client) => {
        const { rows } = await client.query<
          TableId & { readonly id: string; readonly columns: string }
        >(
          `SELECT table_schema AS schema, table_name AS name, id, columns::text AS columns
            FROM understudy.table_identity`,
        );
        return rows.map(({ schema, name, id, columns: numbers }) => ({
          ...{ table: { schema, name }, id, columns: columnsFrom(numbers) },
        }));
      }),
    keep: async (fence, tables) => {
      const columns = [
        tables.map(({ table }) => table.schema),
        tables.map(({ table }) => table.name),
        tables.map(({ id }) => id),
        tables.map(({ columns: numbers }) => JSON.stringify(Object.fromEntries(numbers))),
      ];
      await parts.act(fence, 'keep which tables these are', (client) =>
        client.query(
          `INSERT INTO understudy.table_identity (table_schema, table_name, id, columns)
            SELECT * FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]),
              pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::jsonb[]))
            ON CONFLICT (table_schema, table_name)
              DO UPDATE SET id = excluded.id, columns = excluded.columns`,
          columns,
        ),
      );
    },
  };
}

/** Who may look into the one schema may look into the other: the candidate goes with the table. */
async function openSchema(client: ClientBase, from: string, to: string): Promise<void> {
  const { rows } = await client.query<{ role: string }>(
    `SELECT DISTINCT pg_catalog.pg_get_userbyid(a.grantee) AS role
      FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a
      WHERE n.nspname = $1 AND a.privilege_type = 'USAGE' AND a.grantee NOT IN (0, n.nspowner)`,
    [from],
  );
  for (const { role } of rows) {
    const [schema, grantee] = [to, role].map((name) => escapeIdentifier(name));
    await client.query(`GRANT USAGE ON SCHEMA ${schema} TO ${grantee}`);
  }
}
