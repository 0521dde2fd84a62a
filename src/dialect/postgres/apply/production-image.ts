/** Production's image of staged keys as the shadow has it by now, as pieces of a statement over `s`. */
import { JOURNAL, WAITING } from '../session/names.ts';
import { assert } from '../../../util/assert.ts';
import { keysEqual, type ApplyColumn, type ApplyTable, type KeySide } from './apply-table.ts';

export interface ProductionImage {
  /** Of `w` what waits, `j` the journal, `t` the table: at most one of them has the row. */
  readonly joins: string;
  /** There is such a row. */
  readonly present: string;
  readonly value: (column: ApplyColumn) => string;
}

/**
 * What waits of the key, else the base image if it is owned, else the row. One statement sees all in one
 * snapshot, so it is exact whatever the candidate does meanwhile. `side`: whose key is asked for.
 */
export function productionImage(
  table: ApplyTable,
  side: readonly ['s', Exclude<KeySide, 'name'>],
): ProductionImage {
  const key = table.key[0];
  assert(key !== undefined, `${table.label} has a key`);
  const { name } = key;
  const places = [
    ...(table.waiting === null
      ? []
      : [{ alias: 'w', from: table.waiting, present: `w.${WAITING.present}` }]),
    ...(table.journal === null
      ? []
      : [{ alias: 'j', from: table.journal, present: `j.${JOURNAL.present}` }]),
    { alias: 't', from: table.rows, present: `t.${name} IS NOT NULL` },
  ];
  const joins = places.map(({ alias, from }, i) => {
    const before = places.slice(0, i).map((place) => ` AND ${place.alias}.${name} IS NULL`);
    return `LEFT JOIN ${from} ${alias} ON ${keysEqual(table, [alias, 'name'], side)}${before.join('')}`;
  });
  const first = (value: (place: (typeof places)[number]) => string): string => {
    const whens = places
      .slice(0, -1)
      .map((place) => `WHEN ${place.alias}.${name} IS NOT NULL THEN ${value(place)} `);
    const last = places.slice(-1).map(value).join('');
    return whens.length === 0 ? last : `CASE ${whens.join('')}ELSE ${last} END`;
  };
  return {
    joins: joins.join(' '),
    present: first(({ present }) => present),
    value: (column) => first(({ alias }) => `${alias}.${column.name}`),
  };
}
