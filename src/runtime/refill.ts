/**
 * `materialize --refill`: where the log lost what comes next, copies the tables concerned anew, and
 * leaves all others as they are. Invariants: bootstrap/bootstrap.ts.
 */
import { beginAnew } from '../bootstrap/bootstrap.ts';
import { lostTopics, tablesConcerned, type TablesOfTopic } from '../bootstrap/lost-topics.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import { TopicTables, topicName } from '../decode/forms/topic-tables.ts';
import { copyTargetOf } from '../dialect/copying.ts';
import { schemaTargetOf } from '../dialect/evolving.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import { isHeartbeat, topicSelector } from '../source/kafka/topics.ts';
import { bootstrapOf } from './bootstrap-state.ts';
import { copySource, withCopy, type FillOptions } from './bootstrap-trunk.ts';
import type { Stage } from './stage.ts';
import { topicSelection } from './sources.ts';

/**
 * Lets `bootstrapTrunk` copy what the log cannot bring any more; nothing where it holds all. What an
 * earlier copy has not handed over yet is copied with it. Returns the tables. Errors: CONFIG_INVALID without production or
 * the connector's offsets; SCHEMA_CHANGED for a table that production has no more; those of bootstrap.ts.
 */
export async function refillTrunk(stage: Stage, options: FillOptions): Promise<readonly string[]> {
  const { context, database, holder } = stage;
  const { config, includes, logger } = context;
  const target = copyTargetOf(database);
  const production = await copySource(context, '--refill');
  if (target === null) throw new UnderstudyError('UNSUPPORTED', 'tables cannot be copied here');
  let tables: readonly string[] = [];
  await withCopy(stage, { target, production }, options, async (parts, at) => {
    const { source } = parts;
    const catalogue = await database.catalogue();
    const { position } = await database.progress();
    const isOurs = topicSelector(topicSelection(config, includes));
    // Before the ends that are followed from: a topic that is made anew in between is seen by its id.
    const ids = (await source.topicIds?.()) ?? new Map<string, string>();
    const lost = lostTopics(
      position.offsets,
      await database.topics.known(),
      { ids, starts: await source.starts(), ends: await source.ends() },
      (topic) => isOurs(topic) && !isHeartbeat(topic),
    );
    if (lost.size === 0) {
      logger.info('the log holds what comes next: nothing is copied', { database: database.name });
      return;
    }
    const before = await bootstrapOf(database);
    const concerned = tablesConcerned(lost, catalogue, {
      tables: await topicsOf(stage, catalogue),
      ...{ includes, also: before === null ? [] : before.only },
    });
    await assertThere(stage, concerned);
    tables = concerned.map(tableName);
    const copied = new Set(tables);
    const all = [...catalogue.values()];
    logger.info('the log lost what comes next: tables are copied anew', {
      ...{ database: database.name, topics: [...lost].join(', '), tables: tables.join(', ') },
    });
    await beginAnew(parts, at, {
      tables: concerned,
      parts: all
        .filter(({ partitionOf: root }) => root !== undefined && copied.has(tableName(root)))
        .map(({ id }) => id),
      topics: [...lost],
      topicIds: new Map([...ids].filter(([topic]) => lost.has(topic))),
    });
    const control = await context.control();
    await control.audit(context.holder, 'trunk refill', database.name, { tables });
  });
  holder.throwIfLost();
  return tables;
}

/** Of messages and of tables that were dropped here, too, there is nothing to be copied. */
async function topicsOf(stage: Stage, catalogue: SchemaCatalogue): Promise<TablesOfTopic> {
  const { topicPrefix } = stage.context.config.source;
  const former = (await schemaTargetOf(stage.database)?.formerTables()) ?? new Set<string>();
  const without = new Set([...former].map((table) => topicName(`${topicPrefix}.${table}`)));
  without.add(`${topicPrefix}.message`);
  const tables = new TopicTables(catalogue, topicPrefix);
  return (topic) => {
    const found = tables.allOf(topic);
    return found.length > 0 ? found : without.has(topic) ? [] : null;
  };
}

/** A copy would empty what is kept of a table that production has no more. */
async function assertThere(stage: Stage, tables: readonly TableId[]): Promise<void> {
  const theirs = await (await stage.context.production())?.catalogue();
  const gone = tables.map(tableName).find((table) => theirs?.has(table) === false);
  if (gone === undefined) return;
  throw new UnderstudyError('SCHEMA_CHANGED', 'production has a table no more that is kept here', {
    table: gone,
    detail: 'its events are lost: drop it by `schema accept`, then refill again',
  });
}
