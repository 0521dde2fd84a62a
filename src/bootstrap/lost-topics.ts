/**
 * Which topics have lost what comes after our position, and which tables have to be copied anew for it.
 * Pure.
 */
import { parsePartitionKey, type OffsetMap } from '../change/position.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import { withFamilies } from './families.ts';

export interface LogState {
  readonly starts: OffsetMap;
  readonly ends: OffsetMap;
  /** Of the topics that there are. */
  readonly ids: ReadonlyMap<string, string>;
}

/**
 * Topics of which the log does not hold what comes at `position`: records are gone, or it is another
 * topic than the one that was read (`known`: its id). Of one that has no position nothing was read, so
 * that it has to be whole. Without those that `isOurs` does not take.
 */
export function lostTopics(
  position: OffsetMap,
  known: ReadonlyMap<string, string>,
  { starts, ends, ids }: LogState,
  isOurs: (topic: string) => boolean,
): ReadonlySet<string> {
  const lost = new Set<string>();
  for (const [key, next] of position) {
    const { topic } = parsePartitionKey(key);
    if (!isOurs(topic)) continue;
    const [start, end] = [starts.get(key), ends.get(key)];
    const [was, is] = [known.get(topic), ids.get(topic)];
    const isAnother = next > 0n && was !== undefined && is !== undefined && was !== is;
    const isThere = start !== undefined && end !== undefined && start <= next && next <= end;
    if (!isThere || isAnother) lost.add(topic);
  }
  for (const [key, start] of starts) {
    const { topic } = parsePartitionKey(key);
    if (isOurs(topic) && !position.has(key) && start > 0n) lost.add(topic);
  }
  return lost;
}

/** Whom a topic's records are of; null where it may be any of the tables. */
export type TablesOfTopic = (topic: string) => readonly TableId[] | null;

/**
 * The tables to be copied: those of the lost topics, as far as foreign keys go whose acts are in no log.
 * All of them, where a topic is of no table: without the ends of transactions nobody knows what belongs
 * together, and without what was told of the schema not of which table rows are.
 */
export function tablesConcerned(
  lost: ReadonlySet<string>,
  catalogue: SchemaCatalogue,
  of: {
    readonly tables: TablesOfTopic;
    readonly includes: (table: TableId) => boolean;
    /** Tables that are to be copied anyway; null: all. */
    readonly also: readonly TableId[] | null;
  },
): readonly TableId[] {
  const roots = [...catalogue.values()].filter(({ partitionOf }) => partitionOf === undefined);
  const all = roots.map(({ id }) => id).filter(of.includes);
  if (of.also === null) return all;
  const concerned = [...of.also];
  for (const topic of lost) {
    const tables = of.tables(topic);
    if (tables === null) return all;
    for (const table of tables)
      concerned.push(catalogue.get(tableName(table))?.partitionOf ?? table);
  }
  return withFamilies(concerned, all, catalogue);
}
