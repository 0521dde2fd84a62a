/** SQL over the bit strings of a staging table (alias s): see stage.ts. */
import { escapeLiteral } from 'pg';
import type { ApplyColumn, ApplyTable } from './apply-table.ts';
import { stageRelation } from './stage.ts';

/** True if a bit string of the staged row has the column's bit; false also where it is null. */
export function hasBit(bits: 'mask' | 'doubt', column: ApplyColumn): string {
  return `COALESCE(pg_catalog.get_bit(s.${bits}, ${column.bit}) = 1, false)`;
}

/** A bit string over all columns of the table, each set where its condition holds. */
export function bitString(table: ApplyTable, condition: (column: ApplyColumn) => string): string {
  const bits = table.columns.map((column) => `CASE WHEN ${condition(column)} THEN 1 ELSE 0 END`);
  return `pg_catalog.array_to_string(ARRAY[${bits.join(', ')}], '')::varbit`;
}

/** After a change of masks: rows of which nothing is kept any more become full images. */
export function promoteKnown(table: ApplyTable): string {
  return `UPDATE ${stageRelation(table)} SET op = 'f'
    WHERE op IN ('s', 'm') AND POSITION(B'0' IN mask) = 0`;
}

/** Which rows of a ledger, by its alias, are of this table. */
export function ofTable(table: ApplyTable, alias: string): string {
  const { schema, name } = table.schema.id;
  return `${alias}.table_schema = ${escapeLiteral(schema)}
    AND ${alias}.table_name = ${escapeLiteral(name)}`;
}

/**
 * The key a ledger keeps as text equals the one of `alias`. By the text where no two spellings
 * name one row, which an index answers; else as the table itself compares.
 */
export function sameLedgerKey(
  table: ApplyTable,
  ledger: string,
  [alias, side]: readonly [string, 'name' | 'staged' | 'from'],
): string {
  if (!table.respell) return `${ledger}.key = ${keyArray(table, [alias, side])}`;
  return ledgerKey(table, ledger)
    .map(
      (value, i) =>
        `${value} ${table.key[i]?.equals ?? '='} ${alias}.${table.key[i]?.[side] ?? ''}`,
    )
    .join(' AND ');
}

/** The columns of a ledger's key with the types the table's have. */
export function ledgerKey(table: ApplyTable, ledger: string): readonly string[] {
  return table.key.map(({ schema }, i) => {
    const type = schema.type.domainOf ?? schema.type.sql;
    return `(${ledger}.key[${i + 1}])::${type}`;
  });
}

/** A row's key as ledgers keep it. */
export function keyArray(
  table: ApplyTable,
  [alias, side]: readonly [string, 'name' | 'staged' | 'from'],
): string {
  return `ARRAY[${table.key.map((column) => `${alias}.${column[side]}::text`).join(', ')}]`;
}
