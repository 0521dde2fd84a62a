import type { ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { SchemaCatalogue, TableSchema } from '../../../schema/table-schema.ts';
import type { ApplyTable } from './apply-table.ts';
import { applyFailure } from './apply-error.ts';
import { emptiedSet } from '../overlay/conflict-sql.ts';
import { entryFacts, insertOutcomes } from '../overlay/outcomes.ts';
import { dropBlocked } from '../overlay/blocked-sql.ts';
import { deleteAllEqual } from '../overlay/release-sql.ts';
import { IMAGE, imageId, JOURNAL, relation } from '../session/names.ts';
import { PARKED } from './parked-sql.ts';
import { forgetRows, UNKNOWN_VALUE } from './unknown-sql.ts';

/**
 * Empties tables of a trunk, as production did in one or several statements. TRUNCATE refuses a
 * table that another one references, in replica role too, and its CASCADE would empty tables
 * production did not: so a table that is referenced from outside the list is emptied by DELETE.
 */
export async function truncateTrunk(
  client: ClientBase,
  catalogue: SchemaCatalogue,
  ids: readonly TableId[],
): Promise<void> {
  const tables = ids.map((id) => known(catalogue, id));
  const referenced = referencedFromOutside(catalogue, tables);
  const statements = [...referenced].map((table) => `DELETE FROM ${relation(table.id)}`);
  const free = tables.filter((table) => !referenced.has(table));
  // Not ONLY: a partitioned table has no rows of its own, and a table of a trunk whose children
  // production emptied too gets an event for each of them.
  const names = free.map((t) => (t.partitioned ? relation(t.id) : `ONLY ${relation(t.id)}`));
  if (names.length > 0) statements.push(`TRUNCATE ${names.join(', ')}`);
  try {
    for (const statement of statements) await client.query(statement);
  } catch (error) {
    throw applyFailure(error, tables.map((table) => tableName(table.id)).join(', '));
  }
}

function known(catalogue: SchemaCatalogue, id: TableId): TableSchema {
  const table = catalogue.get(tableName(id));
  if (table !== undefined) return table;
  throw new UnderstudyError('TABLE_UNKNOWN', 'the shadow has no such table', {
    table: tableName(id),
  });
}

/** The tables that TRUNCATE would refuse: referenced by one that it does not empty as well. */
function referencedFromOutside(
  catalogue: SchemaCatalogue,
  tables: readonly TableSchema[],
): ReadonlySet<TableSchema> {
  const refused = new Set<TableSchema>();
  for (let before = -1; before !== refused.size;) {
    before = refused.size;
    const emptied = new Set(
      tables.filter((table) => !refused.has(table)).map((table) => tableName(table.id)),
    );
    for (const referrer of catalogue.values()) {
      if (emptied.has(tableName(referrer.id))) continue;
      const targets = new Set(referrer.foreignKeys.map((key) => tableName(key.references)));
      for (const table of tables) if (targets.has(tableName(table.id))) refused.add(table);
    }
  }
  return refused;
}

/**
 * Empties production's image of a captured table (or of one partition of it): rows of the
 * candidate stay, and production has none of them any more. Other writers are kept out meanwhile,
 * since there are no single keys to check afterwards. Entries of which nothing is left go, before and after.
 * Returns how many rows were owned. `source`: where the log stands by then.
 */
export async function truncateCaptured(
  client: ClientBase,
  table: ApplyTable,
  { truncated, source }: { readonly truncated: TableSchema; readonly source: string | null },
): Promise<{ readonly rows: number; readonly owned: number }> {
  const journal = table.journal;
  const whole = tableName(truncated.id) === table.label;
  const rows = truncated.partitioned ? relation(truncated.id) : `ONLY ${relation(truncated.id)}`;
  const match = table.key.map((c) => `j.${c.name} ${c.equals} t.${c.name}`).join(' AND ');
  const nulls = table.rest.map((column) => `${column.name} = NULL`);
  try {
    await client.query(`LOCK TABLE ${rows} IN SHARE ROW EXCLUSIVE MODE`);
    const within = whole ? 'true' : await partitionCondition(client, truncated);
    const release = deleteAllEqual(table, { outcome: 'converged', source }, within);
    if (table.isolated) {
      const columns = table.columns.map(({ name }) => name).join(', ');
      await client.query(`INSERT INTO ${journal} (${columns}, ${JOURNAL.present})
        SELECT ${columns}, true FROM ${rows}
        ON CONFLICT (${table.key.map(({ name }) => name).join(', ')}) DO NOTHING`);
    } else await client.query([...dropBlocked(table, within), release].join(';\n'));
    const deleted = await client.query(
      `DELETE FROM ${rows} t WHERE NOT EXISTS (SELECT FROM ${journal} j WHERE ${match})`,
    );
    if (table.policy.rows === 'source-wins' && !table.isolated) {
      const ended = await client.query(endAll(table, within, source));
      return { rows: (deleted.rowCount ?? 0) + (ended.rowCount ?? 0), owned: 0 };
    }
    const gone = [
      ...[`${JOURNAL.present} = false`, `${JOURNAL.moved} = true`, ...nulls],
      ...(table.isolated ? [] : emptiedSet(table, source)),
    ];
    const emptied = await client.query(
      `UPDATE ${journal} j SET ${gone.join(', ')} WHERE ${JOURNAL.present} AND (${within})`,
    );
    await client.query(release);
    return { rows: deleted.rowCount ?? 0, owned: emptied.rowCount ?? 0 };
  } catch (error) {
    throw applyFailure(error, tableName(truncated.id));
  }
}

/** Production's change is the end of what the candidate has: its rows and entries go. Counts the rows. */
function endAll(table: ApplyTable, within: string, source: string | null): string {
  const key = table.key.map(({ name }, i) => `j.${name} AS k${String(i)}`).join(', ');
  const same = table.key.map((c, i) => `t.${c.name} ${c.equals} g.k${String(i)}`).join(' AND ');
  const ending = { outcome: 'theirs', source } as const;
  return `WITH gone AS (DELETE FROM ${table.journal ?? ''} j WHERE (${within})
      RETURNING ${key}, ${entryFacts(table)}),
    told AS (${insertOutcomes(table, ending, 'gone')})
    DELETE FROM ${table.rows} t USING gone g WHERE ${same}`;
}

/** Forgets what the ledgers say of the rows of a table, or of one partition of it. */
export async function truncateLedgers(
  client: ClientBase,
  table: ApplyTable,
  truncated: TableSchema,
  imageTables: ReadonlySet<string>,
): Promise<void> {
  const whole = tableName(truncated.id) === table.label;
  const within = whole ? 'true' : await partitionCondition(client, truncated);
  for (const ledger of [UNKNOWN_VALUE, PARKED]) {
    await client.query(forgetRows(table, ledger, within));
  }
  const images = imageId(table.schema.id);
  if (!imageTables.has(images.name)) return;
  await client.query(
    `DELETE FROM ${relation(images)} WHERE ${IMAGE.letter} IS NULL AND (${within})`,
  );
}

/** What must hold for a row to belong to the partition; the journal has the same column names. */
export async function partitionCondition(
  client: ClientBase,
  partition: TableSchema,
): Promise<string> {
  const result = await client.query<{ condition: string | null }>(
    `SELECT pg_catalog.pg_get_partition_constraintdef($1::pg_catalog.regclass) AS condition`,
    [relation(partition.id)],
  );
  // Null is a default partition without siblings, which takes every row.
  return result.rows[0]?.condition ?? 'true';
}
