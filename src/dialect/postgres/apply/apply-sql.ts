/**
 * The statements of one table's step, over its staging table. Pure: apply-rows.ts says in which
 * order they run and why that order survives concurrent writes of the candidate.
 *
 * Aliases: t the table, s the staging table, j the journal.
 */
import { escapeLiteral } from 'pg';
import { assert } from '../../../util/assert.ts';
import { keysEqual, type ApplyColumn, type ApplyTable } from './apply-table.ts';
import { productionImage } from './production-image.ts';
import { conflictKind, conflictSet } from '../overlay/conflict-sql.ts';
import { JOURNAL } from '../session/names.ts';
import { stageRelation, type StagedOp } from './stage.ts';

const TABLE = ['t', 'name'] as const;
const STAGED = ['s', 'staged'] as const;
const JOURNALED = ['j', 'name'] as const;

function journalOf(table: ApplyTable): string {
  assert(table.journal !== null, `${table.label} has a journal`);
  return table.journal;
}

function names(columns: readonly ApplyColumn[]): string {
  return columns.map((column) => column.name).join(', ');
}

/** True if the staged row brings a value for the column. */
export function known(column: ApplyColumn, staging = 's'): string {
  return `pg_catalog.get_bit(${staging}.mask, ${column.bit}) = 1`;
}

/** Forgets what an earlier step of the same transaction staged. */
export function clearStage(table: ApplyTable): string {
  return `TRUNCATE ${stageRelation(table)}`;
}

/**
 * Keeps the last of several staged rows whose keys the server holds equal. Only for keys of which
 * two spellings name one row.
 */
export function dedupeStage(table: ApplyTable): string {
  const stage = stageRelation(table);
  const key = table.key.map((column) => column.staged).join(', ');
  return `DELETE FROM ${stage} WHERE seq IN (SELECT d.seq FROM (
      SELECT seq, pg_catalog.row_number() OVER (PARTITION BY ${key} ORDER BY seq DESC) AS age
      FROM ${stage}) d WHERE d.age > 1)`;
}

/**
 * Completes staged rows of one kind from production's image of the row, by its old key or its own,
 * as it was before the step: the base image if the row is owned, else the row; or what waits of it. One statement sees
 * all in one snapshot, so the image is exact whatever the candidate does meanwhile. An `m` without
 * such an image becomes `s`, and so depends on the row with its own key; the others stay.
 */
export function fillStage(
  table: ApplyTable,
  op: 'm' | 's' | 'q',
  side: 'from' | 'staged' = op === 'm' ? 'from' : 'staged',
): string {
  const stage = stageRelation(table);
  const from = ['s', side] as const;
  const image = productionImage(table, from);
  const values = table.columns.map((column) => {
    const isKey = table.key.some((key) => key.name === column.name);
    if (isKey) return `s.${column.staged}`;
    return `CASE WHEN ${known(column)} THEN s.${column.staged} ELSE ${image.value(column)} END`;
  });
  // 'g' holds the completed rows apart until the incomplete ones are gone.
  return `INSERT INTO ${stage} (${table.columns.map((c) => c.staged).join(', ')}, seq, op, doubt, own, freed)
      SELECT ${values.join(', ')}, s.seq, 'g', s.doubt, s.own, s.freed
      FROM ${stage} s ${image.joins} WHERE s.op = '${op}' AND ${image.present};
    UPDATE ${stage} SET op = 'k' WHERE op = '${op}'
      AND seq NOT IN (SELECT g.seq FROM ${stage} g WHERE g.op = 'g');
    DELETE FROM ${stage} WHERE op = '${op}';
    UPDATE ${stage} SET op = CASE op WHEN 'k' THEN '${op === 'q' ? 'q' : 's'}'::"char" ELSE 'f'::"char" END
      WHERE op IN ('g', 'k')`;
}

/**
 * Reads, for each column that has one, by `attname`, the expression of what a new row has in it that
 * was sent without it: of a column that was added to the table, the value that the server keeps for
 * older rows, since only a row from before the column comes without it; else the default, its own,
 * its domain's, or the sequence of its identity. Names are qualified, as the session's search_path
 * is empty.
 */
export function readDefaults(table: ApplyTable): string {
  const name = escapeLiteral(table.relation);
  const older = 'a.attmissingval::text::text[]';
  return `SELECT a.attname AS column, CASE
      WHEN a.atthasmissing AND pg_catalog.cardinality(${older}) = 1
        THEN pg_catalog.quote_nullable((${older})[1])
      WHEN a.attidentity <> '' THEN pg_catalog.format('pg_catalog.nextval(%L::pg_catalog.regclass)',
        pg_catalog.pg_get_serial_sequence(${name}, a.attname))
      ELSE COALESCE(pg_catalog.pg_get_expr(d.adbin, d.adrelid),
        pg_catalog.pg_get_expr(t.typdefaultbin, 0)) END AS expression
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = ${name}::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped
      AND a.attgenerated = ''`;
}

/**
 * Completes the staged rows of kind `q` that are not here yet, by the table's defaults. A row that
 * lacks a column that is NOT NULL and has no default becomes `s`: it cannot be made, only parked.
 */
export function defaultStage(table: ApplyTable, defaults: ReadonlyMap<string, string>): string {
  const needed = table.rest
    .filter(({ schema }) => !schema.nullable && !defaults.has(schema.name))
    .map((column) => known(column));
  const whole = needed.length === 0 ? 'true' : needed.join(' AND ');
  const values = table.rest.map((column) => {
    // An expression is printed without the cast that it was stored with.
    const { name, type } = column.schema;
    const expression = `(${defaults.get(name) ?? 'NULL'})::${type.domainOf ?? type.sql}`;
    return `${column.staged} = CASE WHEN ${known(column)} THEN s.${column.staged}
      WHEN ${whole} THEN ${expression} END`;
  });
  return `UPDATE ${stageRelation(table)} s SET ${[
    ...values,
    `op = CASE WHEN ${whole} THEN 'f'::"char" ELSE 's'::"char" END`,
    `mask = CASE WHEN ${whole} THEN NULL ELSE s.mask END`,
  ].join(', ')} WHERE s.op = 'q'`;
}

/** Counts staged rows by kind, after filling and deduplicating. */
export function countStage(table: ApplyTable): string {
  return `SELECT op, pg_catalog.count(*)::int4 AS rows FROM ${stageRelation(table)} GROUP BY op`;
}

/**
 * R: marks staged rows that the candidate owns. Its row count is the number of all of them, also of
 * those that an earlier look had marked.
 */
export function markOwned(table: ApplyTable): string {
  return `UPDATE ${stageRelation(table)} s SET own = true FROM ${journalOf(table)} j
    WHERE ${keysEqual(table, JOURNALED, STAGED)}`;
}

/** All unowned images out, so that they may exchange unique values. */
export function takeOut(table: ApplyTable): string {
  return deleteRows(table, ['d', 'f']);
}

/** W1: deletes rows, of the given kinds. */
export function deleteRows(table: ApplyTable, ops: readonly StagedOp[]): string {
  return `DELETE FROM ${table.rows} t USING ${stageRelation(table)} s
    WHERE ${keysEqual(table, TABLE, STAGED)} AND s.op IN (${quoted(ops)}) AND NOT s.own`;
}

/**
 * Deletes rows whose `GENERATED ALWAYS` identity outside the key is to change: no UPDATE may set
 * it, an insert may.
 */
export function deleteRenumbered(table: ApplyTable): string {
  const changed = table.fixed.map((c) => `t.${c.name} IS DISTINCT FROM s.${c.staged}`);
  return `${deleteRows(table, ['f'])} AND (${changed.join(' OR ')})`;
}

/** W2: sets the known columns; the others are assigned to themselves, which keeps TOAST values. */
export function patchRows(table: ApplyTable): string {
  const set = assignable(table).map(
    (c) => `${c.name} = CASE WHEN ${known(c)} THEN s.${c.staged} ELSE t.${c.name} END`,
  );
  // A table of nothing but its key is never patched: its images are always full.
  assert(set.length > 0, `${table.label} has columns to patch`);
  return `UPDATE ${table.rows} t SET ${set.join(', ')} FROM ${stageRelation(table)} s
    WHERE ${keysEqual(table, TABLE, STAGED)} AND s.op = 's' AND NOT s.own`;
}

/** W3: inserts full images, or overwrites the rows that are there. */
export function upsertRows(table: ApplyTable): string {
  if (table.keyDeferrable) return upsertDeferrable(table);
  const set = assignable(table).map((column) => `${column.name} = excluded.${column.name}`);
  const action = set.length === 0 ? 'DO NOTHING' : `DO UPDATE SET ${set.join(', ')}`;
  return `${insertStaged(table)} ORDER BY ${table.key.map((c) => `s.${c.staged}`).join(', ')}
    ON CONFLICT (${names(table.key)}) ${action}`;
}

/** `ON CONFLICT` refuses deferrable constraints. The caller keeps other writers out. */
function upsertDeferrable(table: ApplyTable): string {
  const set = assignable(table).map((column) => `${column.name} = s.${column.staged}`);
  const update = `UPDATE ${table.rows} t SET ${set.join(', ')} FROM ${stageRelation(table)} s
    WHERE ${keysEqual(table, TABLE, STAGED)} AND s.op = 'f' AND NOT s.own;`;
  return `${set.length === 0 ? '' : update} ${insertStaged(table)}
    AND NOT EXISTS (SELECT FROM ${table.rows} t WHERE ${keysEqual(table, TABLE, STAGED)})`;
}

/** The staged images that nobody owns, new; conditions over `s` can be added to it. */
export function insertStaged(table: ApplyTable): string {
  const staged = table.columns.map((column) => `s.${column.staged}`).join(', ');
  return `INSERT INTO ${table.relation} (${names(table.columns)}) OVERRIDING SYSTEM VALUE
    SELECT ${staged} FROM ${stageRelation(table)} s WHERE s.op = 'f' AND NOT s.own`;
}

/** Columns an UPDATE sets. The key's only where its spelling may change. */
function assignable(table: ApplyTable): readonly ApplyColumn[] {
  const columns = table.respell ? table.columns : table.rest;
  return columns.filter((column) => column.schema.identity !== 'always');
}

/** C: a row if a staged key became owned since R. Must run as a statement of its own. */
export function findNewlyOwned(table: ApplyTable): string {
  return `SELECT 1 AS found FROM ${stageRelation(table)} s JOIN ${journalOf(table)} j
    ON ${keysEqual(table, JOURNALED, STAGED)} WHERE NOT s.own LIMIT 1`;
}

/** Locks the rows of all staged keys in key order, so that the next attempt meets no new owner. */
export function lockRows(table: ApplyTable): string {
  const key = table.key.map((column) => `t.${column.name}`).join(', ');
  return `SELECT pg_catalog.count(*) FROM (SELECT FROM ${table.rows} t
    JOIN ${stageRelation(table)} s ON ${keysEqual(table, TABLE, STAGED)}
    ORDER BY ${key} FOR NO KEY UPDATE OF t) locked`;
}

/**
 * Makes the entries that staged rows lack, with production's image as it was, in statements of their own: of
 * rows, which are locked before, and then of keys that hold none. Who makes such a row meanwhile waits with
 * its entry, or has made it, which this waits for.
 */
export function ownRows(table: ApplyTable): readonly string[] {
  const key = names(table.key);
  return [
    `INSERT INTO ${journalOf(table)} (${names(table.columns)}, ${JOURNAL.present})
      SELECT ${table.columns.map(({ name }) => `t.${name}`).join(', ')}, true
      FROM ${table.rows} t JOIN ${stageRelation(table)} s ON ${keysEqual(table, TABLE, STAGED)}
      ON CONFLICT (${key}) DO NOTHING`,
    `INSERT INTO ${journalOf(table)} (${key}, ${JOURNAL.present})
      SELECT ${table.key.map(({ staged }) => `s.${staged}`).join(', ')}, false
      FROM ${stageRelation(table)} s
      WHERE NOT EXISTS (SELECT FROM ${table.rows} t WHERE ${keysEqual(table, TABLE, STAGED)})
      ON CONFLICT (${key}) DO NOTHING`,
  ];
}

/** Which of these staged rows still depend on the row with their own key. */
export function findPatches(table: ApplyTable, seqs: readonly number[]): string {
  return `SELECT s.seq FROM ${stageRelation(table)} s
    WHERE s.op = 's' AND s.seq IN (${seqs.join(', ')})`;
}

/** The numbers (seq) of patches that met no row of production: not even as a base image. */
export function findUnpatched(table: ApplyTable): string {
  const row = `SELECT FROM ${table.rows} t WHERE ${keysEqual(table, TABLE, STAGED)}`;
  const base =
    table.journal === null
      ? ''
      : `WHEN s.own THEN NOT EXISTS (SELECT FROM ${table.journal} j
          WHERE ${keysEqual(table, JOURNALED, STAGED)} AND j.${JOURNAL.present})`;
  return `SELECT s.seq FROM ${stageRelation(table)} s
    WHERE s.op = 's' AND CASE ${base} WHEN true THEN NOT EXISTS (${row}) END`;
}

/**
 * B: moves the base images of owned rows, and notes where both sides changed one; what is kept apart has no
 * conflicts. Its row count equals the number of owned staged rows,
 * unless a patch met an image that is not there.
 */
export function moveBaseImages(table: ApplyTable, source: string | null): string {
  const columns = table.respell ? table.columns : table.rest;
  const set = columns.map((column) => {
    const isKey = table.key.some((key) => key.name === column.name);
    if (isKey) return `${column.name} = s.${column.staged}`;
    return `${column.name} = CASE WHEN s.op <> 's' OR ${known(column)} THEN s.${column.staged}
      ELSE j.${column.name} END`;
  });
  const conflicts = table.isolated ? [] : conflictSet(table, source);
  // Asked once for each row: see conflict-sql.ts.
  const asked = table.isolated
    ? ''
    : `JOIN ${journalOf(table)} k ON ${keysEqual(table, ['k', 'name'], STAGED)}
      LEFT JOIN ${table.rows} t ON ${keysEqual(table, TABLE, STAGED)}
      CROSS JOIN LATERAL (SELECT ${conflictKind(table, 'k', (column) => known(column))} AS kind OFFSET 0) c`;
  return `UPDATE ${journalOf(table)} j
    SET ${[`${JOURNAL.present} = s.op <> 'd'`, `${JOURNAL.moved} = true`, ...conflicts, ...set].join(', ')}
    FROM ${stageRelation(table)} s ${asked}
    WHERE ${keysEqual(table, JOURNALED, STAGED)} AND s.own
      AND (s.op <> 's' OR j.${JOURNAL.present})`;
}

function quoted(ops: readonly StagedOp[]): string {
  return ops.map((op) => `'${op}'`).join(', ');
}
