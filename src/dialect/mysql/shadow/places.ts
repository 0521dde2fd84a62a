import { parsePartitionKey } from '../../../change/position.ts';
import { literal } from '../session/names.ts';

/**
 * Of a table with the primary key (topic, partition): its rows of these partitions, each found by its
 * whole key. A locking read that scans the table would wait for who holds the rows of others.
 */
export function rowsAt(table: string, partitions: Iterable<string>): string {
  const places = Array.from(partitions, (key) => {
    const { topic, partition } = parsePartitionKey(key);
    return `(topic = ${literal(topic)} AND \`partition\` = ${String(partition)})`;
  });
  const which = places.length === 0 ? 'FALSE' : places.join(' OR ');
  return `${table} FORCE INDEX (PRIMARY) WHERE ${which}`;
}
