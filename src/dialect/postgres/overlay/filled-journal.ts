/** Journals filled from what was kept of production's image, beside tables that a migration changed. */
import { escapeIdentifier, type ClientBase } from 'pg';
import type { TableId } from '../../../change/table-id.ts';
import type { ColumnType } from '../../../schema/table-schema.ts';
import type { Reshaped } from '../../sql/reshaped.ts';
import { uniqueViolation } from '../apply/apply-error.ts';
import { readDefaults } from '../apply/apply-sql.ts';
import type { ApplyTable } from '../apply/apply-table.ts';
import { isConnectionLoss } from '../session/errors.ts';
import { JOURNAL, relation } from '../session/names.ts';
import { imageEqual } from './views.ts';

const SAVEPOINT = 'understudy_fill';

const plain = ({ sql, domainOf }: ColumnType): string => domainOf ?? sql;

/** What a column of what is kept is of by now: a type may have another name, and another its name. */
interface KeptType {
  readonly sql: string;
  readonly isEnum: boolean;
}

async function readKeptTypes(
  client: ClientBase,
  kept: ApplyTable,
): Promise<ReadonlyMap<string, KeptType>> {
  const { rows } = await client.query<KeptType & { readonly name: string }>(
    `SELECT a.attname AS name, pg_catalog.format_type(a.atttypid, a.atttypmod) AS sql,
        t.typtype = 'e' AS "isEnum"
      FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
      WHERE a.attrelid = $1::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped`,
    [kept.rows.replace(/^ONLY /, '')],
  );
  return new Map(rows.map(({ name, ...type }) => [name, type]));
}

/** A column of what is kept, as the candidate's type. */
function cast(from: string, type: ColumnType | undefined, was: KeptType | undefined): string {
  const name = `k.${escapeIdentifier(from)}`;
  if (type === undefined || was === undefined || plain(type) === was.sql) return name;
  // Labels are cast to no other type than texts.
  return `(${name})::${was.isEnum ? 'pg_catalog.text::' : ''}${plain(type)}`;
}

/** The same without columns whose values the server does not cast; null if one is of the key. */
export async function castable(
  client: ClientBase,
  table: Pick<ApplyTable, 'schema'>,
  reshaped: Reshaped,
  kept: ApplyTable,
): Promise<Reshaped | null> {
  const columns = new Map(reshaped.columns);
  const types = await readKeptTypes(client, kept);
  for (const [from, to] of reshaped.columns) {
    if (to === null) continue;
    const value = cast(from, typeOf(table, to), types.get(from));
    if (value === `k.${escapeIdentifier(from)}`) continue;
    const isCast = await tried(client, () =>
      client.query(`SELECT pg_catalog.count(${value}) FROM ${kept.rows} k`),
    );
    if (isCast) continue;
    if (reshaped.schema.key.includes(from)) return null;
    columns.set(from, null);
  }
  return { ...reshaped, columns };
}

function typeOf({ schema }: Pick<ApplyTable, 'schema'>, name: string): ColumnType | undefined {
  return schema.columns.find((column) => column.name === name)?.type;
}

/** False if the server refused it, which then changed nothing. */
async function tried(client: ClientBase, act: () => Promise<unknown>): Promise<boolean> {
  await client.query(`SAVEPOINT ${SAVEPOINT}`);
  try {
    await act();
    await client.query(`RELEASE SAVEPOINT ${SAVEPOINT}`);
    return true;
  } catch (error) {
    if (isConnectionLoss(error)) throw error;
    await client.query(`ROLLBACK TO SAVEPOINT ${SAVEPOINT}`);
    return false;
  }
}

function sameKeys({ key }: ApplyTable, left: string, right: string): string {
  return key.map((c) => `${left}.${c.name} ${c.equals} ${right}.${c.name}`).join(' AND ');
}

const list = (columns: readonly { readonly name: string }[], alias: string): string =>
  columns.map(({ name }) => `${alias}.${name}`).join(', ');

/**
 * An entry for each row that differs from production's in what both have. What only the candidate has is in
 * the images as it is in the rows, so that what a migration fills a new column with makes no row the
 * candidate's. False where the table holds two rows of production's for one: then nothing was written.
 */
export async function fillAsImage(
  client: ClientBase,
  table: ApplyTable,
  { reshaped, kept }: { readonly reshaped: Reshaped; readonly kept: ApplyTable },
): Promise<boolean> {
  const journal = table.journal ?? '';
  const pairs = [...reshaped.columns].flatMap(([from, to]) =>
    to === null ? [] : [[from, to] as const],
  );
  const types = await readKeptTypes(client, kept);
  const values = pairs.map(([from, to]) => cast(from, typeOf(table, to), types.get(from)));
  await client.query(`SAVEPOINT ${SAVEPOINT}`);
  try {
    await client.query(
      `INSERT INTO ${journal} (${pairs.map(([, to]) => escapeIdentifier(to)).join(', ')}, ${JOURNAL.present})
        SELECT ${values.join(', ')}, true FROM ${kept.rows} k`,
    );
  } catch (error) {
    if (uniqueViolation(error) === null) throw error;
    await client.query(`ROLLBACK TO SAVEPOINT ${SAVEPOINT}`);
    return false;
  }
  await client.query(`RELEASE SAVEPOINT ${SAVEPOINT}; ANALYZE ${journal}`);
  const ours = new Set(pairs.map(([, to]) => to));
  const both = table.columns.filter(({ schema }) => ours.has(schema.name));
  const only = table.columns.filter(({ schema }) => !ours.has(schema.name));
  const on = sameKeys(table, 'j', 't');
  await client.query(
    `INSERT INTO ${journal} (${table.key.map(({ name }) => name).join(', ')}, ${JOURNAL.present})
      SELECT ${list(table.key, 't')}, false FROM ${table.rows} t
      WHERE NOT EXISTS (SELECT FROM ${journal} j WHERE ${on})`,
  );
  await client.query(
    `DELETE FROM ${journal} j USING ${table.rows} t WHERE ${on} AND j.${JOURNAL.present}
      AND ${imageEqual(
        both.map(({ schema }) => schema),
        'j',
        't',
      )}`,
  );
  if (only.length > 0) await fillOwn(client, table, only);
  return true;
}

/** Of rows that the candidate deleted there is nothing but the default, where one must be. */
async function fillOwn(
  client: ClientBase,
  table: ApplyTable,
  only: ApplyTable['columns'],
): Promise<void> {
  const journal = table.journal ?? '';
  const on = sameKeys(table, 'j', 't');
  await client.query(
    `UPDATE ${journal} j SET ${only.map(({ name }) => `${name} = t.${name}`).join(', ')}
      FROM ${table.rows} t WHERE ${on} AND j.${JOURNAL.present}`,
  );
  const needed = only.filter(({ schema }) => !schema.nullable);
  if (needed.length === 0) return;
  const { rows } = await client.query<{ column: string; expression: string | null }>(
    readDefaults(table),
  );
  for (const { name, schema } of needed) {
    const expression = rows.find(({ column }) => column === schema.name)?.expression ?? null;
    if (expression === null) continue;
    await client.query(
      `UPDATE ${journal} j SET ${name} = (${expression})::${plain(schema.type)}
        WHERE j.${JOURNAL.present} AND NOT EXISTS (SELECT FROM ${table.rows} t WHERE ${on})`,
    );
  }
}

/** All rows are the candidate's inserts. */
export async function fillAsOwn(client: ClientBase, table: ApplyTable): Promise<void> {
  await client.query(
    `INSERT INTO ${table.journal ?? ''} (${table.key.map(({ name }) => name).join(', ')}, ${JOURNAL.present})
      SELECT ${list(table.key, 't')}, false FROM ${table.rows} t`,
  );
}

/** What the entries of before tell beside images, by keys that are cast likewise; else it is lost. */
export async function keepFacts(
  client: ClientBase,
  table: ApplyTable,
  former: TableId,
): Promise<void> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT a.attname AS name FROM pg_catalog.pg_index i
      CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY k(num, pos)
      JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.num
      WHERE i.indrelid = $1::pg_catalog.regclass AND i.indisprimary ORDER BY k.pos`,
    [relation(former)],
  );
  if (rows.length !== table.key.length) return;
  const on = table.key.map((column, i) => {
    const was = `f.${escapeIdentifier(rows[i]?.name ?? '')}`;
    return `j.${column.name} ${column.equals} (${was})::${plain(column.schema.type)}`;
  });
  const facts = [JOURNAL.at, JOURNAL.trace, JOURNAL.moved];
  const conflict = [JOURNAL.conflict, JOURNAL.conflictBase, JOURNAL.conflictAt];
  const noted = [...conflict, JOURNAL.conflictSource];
  const why = [JOURNAL.blocked, JOURNAL.refused, JOURNAL.detail];
  const set = (columns: readonly string[]): string =>
    columns.map((column) => `${column} = f.${column}`).join(', ');
  const journal = table.journal ?? '';
  const from = `FROM ${relation(former)} f WHERE ${on.join(' AND ')}`;
  await tried(client, async () => {
    await client.query(`UPDATE ${journal} j SET ${set(facts)} ${from}`);
    // A row that is kept out beside a visible one is the candidate's now: whether it came to it meanwhile
    // its version does not tell, for a changed table has new ones.
    await client.query(`UPDATE ${journal} j SET ${set(noted)} ${from}
      AND (f.${JOURNAL.blocked} IS NULL OR f.${JOURNAL.conflict} IS DISTINCT FROM f.${JOURNAL.refused})`);
    await client.query(`UPDATE ${journal} j SET ${set([...noted, ...why])} ${from}
      AND j.${JOURNAL.present} AND f.${JOURNAL.blocked} = '0'::pg_catalog.xid
      AND NOT EXISTS (SELECT FROM ${table.rows} t WHERE ${sameKeys(table, 'j', 't')})`);
  });
}
