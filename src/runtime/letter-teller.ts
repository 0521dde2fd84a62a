/**
 * Tells a Kafka topic of dead letters of a database that this process holds, if one is configured:
 * each once at least, after the transaction that set its row aside.
 */
import type { DeadLetter } from '../dialect/dead-letters.ts';
import { kafkaClientOptions } from '../source/kafka/client-options.ts';
import { KafkaTopicWriter } from '../source/kafka/topic-writer.ts';
import { rowOf } from './dead-letters.ts';
import type { Stage } from './stage.ts';

/** How many are told at a time. */
const AT_ONCE = 500;

/** Tells what is not told yet. Nothing where no topic is configured. */
export async function tellLetters(stage: Stage): Promise<void> {
  const { config, logger } = stage.context;
  const { topic } = config.deadLetters;
  const { kafka } = config.source;
  if (topic === undefined || kafka === undefined) return;
  const box = stage.database.deadLetters;
  const untold = await box.untold(AT_ONCE);
  if (untold.length === 0) return;
  await using writer = new KafkaTopicWriter(kafkaClientOptions(kafka), topic, logger);
  const name = stage.database.marker.name;
  await writer.send(untold.map((letter) => messageOf(name, letter)));
  const ids = untold.map(({ id }) => id);
  await stage.betweenWrites(() => box.told(stage.holder.fence, ids));
  logger.info('told of dead letters', {
    database: stage.database.name,
    topic,
    letters: ids.length,
  });
}

/** Without row values but keys, and without what changes later. */
function messageOf(
  name: string,
  letter: DeadLetter,
): { readonly key: string; readonly value: string } {
  const { ageMs: _, queued: __, hidden: ___, ...told } = rowOf(name, letter);
  return { key: letter.id, value: JSON.stringify(told) };
}
