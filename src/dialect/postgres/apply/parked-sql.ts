/**
 * Parked keys: production has a row that the shadow could not make, because an event left columns
 * out and there was no row to keep them from. What came of the row is kept as text, by column, until
 * a later event, an incremental snapshot or a read of production completes it, or it goes.
 *
 * Of values in doubt nothing is kept: what a parked key holds is production's for sure.
 */
import { escapeLiteral } from 'pg';
import { IMAGE, imageId, OWN_SCHEMA, relation } from '../session/names.ts';
import { keysEqual, type ApplyTable } from './apply-table.ts';
import { bitString, hasBit, keyArray, ofTable, promoteKnown, sameLedgerKey } from './stage-bits.ts';
import { stageRelation, type StagedOp } from './stage.ts';

export const PARKED = `${OWN_SCHEMA}.parked`;

const REASON = 'an event left out columns of a row that the shadow does not have';

/**
 * Fills staged rows of kind `m` (by their old keys) or `s` from what is parked, and numbers (seq)
 * of those that are still not whole: production's row is not here, whatever holds its key.
 */
export function meltParked(table: ApplyTable, op: Extract<StagedOp, 'm' | 's'>): string {
  const stage = stageRelation(table);
  const join = sameLedgerKey(table, 'p', ['s', op === 'm' ? 'from' : 'staged']);
  const held = (name: string): string => `pg_catalog.jsonb_exists(p.image, ${escapeLiteral(name)})`;
  const set = table.rest.map((column) => {
    const { name, type } = column.schema;
    return `${column.staged} = CASE WHEN NOT ${hasBit('mask', column)} AND ${held(name)}
      THEN pg_catalog.jsonb_extract_path_text(p.image, ${escapeLiteral(name)})::${type.domainOf ?? type.sql}
      ELSE s.${column.staged} END`;
  });
  const mask = bitString(
    table,
    (column) => `${hasBit('mask', column)} OR ${held(column.schema.name)}`,
  );
  return `UPDATE ${stage} s SET ${[...set, `mask = ${mask}`].join(', ')}
      FROM ${PARKED} p WHERE s.op = '${op}' AND ${ofTable(table, 'p')} AND ${join};
    ${promoteKnown(table)};
    SELECT s.seq FROM ${stage} s JOIN ${PARKED} p ON ${ofTable(table, 'p')} AND ${join}
      WHERE s.op = '${op}'`;
}

/**
 * Parks staged rows, and leaves in their place a delete with a mask: a row that still holds such a
 * key is not the one that production has there.
 */
export function parkRows(
  table: ApplyTable,
  seqs: readonly number[],
  source: string | null,
): string {
  const stage = stageRelation(table);
  const { schema, name } = table.schema.id;
  const numbers = `s.seq IN (${seqs.join(', ')})`;
  const columns = table.rest.map(
    (column) =>
      `(${escapeLiteral(column.schema.name)}, s.${column.staged}::text,
        ${hasBit('mask', column)} AND NOT ${hasBit('doubt', column)})`,
  );
  return `INSERT INTO ${PARKED} AS p (table_schema, table_name, key, reason, image, source)
      SELECT ${escapeLiteral(schema)}, ${escapeLiteral(name)},
        ${keyArray(table, ['s', 'staged'])}, ${escapeLiteral(REASON)},
        COALESCE((SELECT pg_catalog.jsonb_object_agg(u.name, u.value)
          FROM (VALUES ${columns.join(', ')}) AS u(name, value, known) WHERE u.known), '{}'),
        ${source === null ? 'NULL' : escapeLiteral(source)}
      FROM ${stage} s WHERE ${numbers}
      ON CONFLICT (table_schema, table_name, key)
        DO UPDATE SET image = excluded.image, source = excluded.source;
    UPDATE ${stage} s SET op = 'd', doubt = NULL WHERE ${numbers}`;
}

/** Forgets parked keys whose rows were written or deleted by the staged changes. */
export function releaseParked(table: ApplyTable): string {
  const stage = stageRelation(table);
  const same = sameLedgerKey(table, 'p', ['s', 'staged']);
  return `DELETE FROM ${PARKED} p WHERE ${ofTable(table, 'p')}
    AND EXISTS (SELECT FROM ${stage} s WHERE ${same} AND s.restored IS NOT TRUE)
    AND NOT EXISTS (SELECT FROM ${stage} s WHERE ${same} AND s.op = 'd' AND s.mask IS NOT NULL)`;
}

/**
 * Forgets the images of discarded rows of which the staged changes tell: what is known of them now is
 * in the table, or parked.
 */
export function releaseImages(table: ApplyTable): string {
  return `DELETE FROM ${relation(imageId(table.schema.id))} i
    USING ${stageRelation(table)} s
    WHERE i.${IMAGE.letter} IS NULL AND s.restored IS NOT TRUE AND ${keysEqual(table, ['i', 'name'], ['s', 'staged'])}`;
}
