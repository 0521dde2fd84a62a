/** Deciding of rows that refer to none, see orphans.ts. */
import { escapeLiteral } from 'pg';
import { tableName } from '../../../change/table-id.ts';
import type { Side } from '../../../overlay/conflict.ts';
import type { OverlayConflict, ResolvedRows, RowSelection } from '../../overlay.ts';
import { accepting, decideOrphans } from '../../sql/orphan-decisions.ts';
import type { ApplySession } from '../apply/apply.ts';
import { keysEqual, type ApplyTable } from '../apply/apply-table.ts';
import { readComparisons } from '../catalogue/key-facts.ts';
import { JOURNAL, relation } from '../session/names.ts';
import { ACCEPTED, readOrphans, refersTo } from './orphans.ts';
import { insertOutcomes } from './outcomes.ts';
import { decided, resetTable } from './reset.ts';
import { writeAllWaiting } from './write-waiting.ts';

/** Those of `tables`, in the caller's transaction. Errors: USAGE, TABLE_UNKNOWN, APPLY_BLOCKED. */
export async function resolveOrphans(
  session: ApplySession,
  tables: readonly ApplyTable[],
  only: RowSelection,
  side: Side,
): Promise<ResolvedRows> {
  const { client, pairsOn } = session;
  const child = ({ table }: OverlayConflict): ApplyTable => named(tables, tableName(table));
  return decideOrphans(
    {
      read: async (limit) => {
        // Elsewhere such joins are off, for what is staged has no statistics; here they are entries × table.
        await client.query(JOINS('on'));
        const found = await readOrphans(client, limit, { ...only, pairsOn });
        await client.query(JOINS('off'));
        return found;
      },
      accept: async (orphans) => {
        for (const orphan of orphans) await accept(session, child(orphan), orphan);
      },
      putBack: async (orphans) => {
        const [first] = orphans;
        if (first !== undefined) await putBack(session, tables, child(first), orphans);
      },
    },
    tables,
    only,
    side,
  );
}

function named(tables: readonly ApplyTable[], label: string): ApplyTable {
  const found = tables.find((table) => table.label === label);
  if (found === undefined) throw new Error(`no table ${label} is captured`);
  return found;
}

async function accept(
  { client }: ApplySession,
  table: ApplyTable,
  orphan: OverlayConflict,
): Promise<void> {
  const { schema, name, reference, key, referring } = accepting(orphan);
  await client.query(
    `INSERT INTO ${ACCEPTED} (table_schema, table_name, reference, row_key, referring)
      VALUES ($1, $2, $3, $4, $5)`,
    [schema, name, reference, key, referring],
  );
  const texts = orphan.key.map((text) => escapeLiteral(text)).join(', ');
  const trace = orphan.trace === null ? 'NULL' : escapeLiteral(orphan.trace);
  await client.query(
    insertOutcomes(
      table,
      { outcome: 'ours', source: null },
      `(SELECT ARRAY[${texts}]::text[] AS key, ${trace}::text AS trace,
        pg_catalog.to_timestamp(${String(orphan.firstAt.getTime() / 1000)}::float8) AS first_at)`,
    ),
  );
}

const JOINS = (state: 'on' | 'off'): string =>
  `SET LOCAL enable_hashjoin = ${state}; SET LOCAL enable_mergejoin = ${state}`;

const KEYS = 'pg_temp.understudy_orphans';

/** The rows first; where production's refers to none either, what the candidate deleted. */
async function putBack(
  session: ApplySession,
  tables: readonly ApplyTable[],
  child: ApplyTable,
  orphans: readonly OverlayConflict[],
): Promise<void> {
  const { client } = session;
  const key = child.schema.foreignKeys.find(({ name }) => name === orphans[0]?.detail);
  const label = key === undefined ? '' : tableName(key.references);
  const parent = tables.find((table) => table.label === label);
  for (const table of [child, parent]) {
    if (table !== undefined) await writeAllWaiting(session, table.schema.id);
  }
  await stageKeys(client, child, orphans);
  const which = `EXISTS (SELECT FROM ${KEYS} o WHERE ${keysEqual(child, ['j', 'name'], ['o', 'name'])})`;
  await decided(child, () =>
    resetTable(session, child, { sql: which, values: [], outcome: 'theirs' }),
  );
  if (key === undefined || parent === undefined || parent.isolated) return;
  const comparisons = await readComparisons(client);
  const refers = (alias: string): string => refersTo(key, comparisons, alias);
  const gone = `j.${JOURNAL.present} AND EXISTS (SELECT FROM ${KEYS} o
    JOIN ${child.rows} c ON ${keysEqual(child, ['c', 'name'], ['o', 'name'])}
    WHERE ${refers('j')}
      AND NOT EXISTS (SELECT FROM ${relation(key.references)} p WHERE ${refers('p')}))`;
  await decided(parent, () =>
    resetTable(session, parent, { sql: gone, values: [], outcome: 'theirs' }),
  );
}

async function stageKeys(
  client: ApplySession['client'],
  table: ApplyTable,
  orphans: readonly OverlayConflict[],
): Promise<void> {
  const names = table.key.map(({ name }) => name).join(', ');
  await client.query(`DROP TABLE IF EXISTS ${KEYS};
    CREATE TEMPORARY TABLE understudy_orphans ON COMMIT DROP AS
      SELECT ${names} FROM ${table.rows} WITH NO DATA`);
  const columns = table.key.map(
    ({ schema }, i) => `o.k${String(i)}::${schema.type.domainOf ?? schema.type.sql}`,
  );
  const texts = table.key.map((_, i) => `pg_catalog.unnest($${String(i + 1)}::text[])`);
  const aliases = table.key.map((_, i) => `k${String(i)}`);
  await client.query(
    `INSERT INTO ${KEYS} (${names}) SELECT ${columns.join(', ')}
      FROM ROWS FROM (${texts.join(', ')}) AS o (${aliases.join(', ')})`,
    table.key.map((_, i) => orphans.map(({ key }) => key[i] ?? null)),
  );
}
