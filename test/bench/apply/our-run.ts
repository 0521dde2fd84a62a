import { parseConfig } from '../../../src/config/load.ts';
import { silentLogger } from '../../../src/observability/logger.ts';
import { RuntimeContext } from '../../../src/runtime/context.ts';
import { materialize } from '../../../src/runtime/materialize.ts';
import { ensureTrunk } from '../../../src/runtime/trunk.ts';
import { databaseUrl } from '../../support/postgres.ts';
import { assertReached, type BenchLog } from './bench-log.ts';
import { forgetDatabase, onDatabase } from './door.ts';

/**
 * One run of `understudy materialize --until-caught-up`, within this process, into a trunk of its
 * own: the events it applied per second, from its start (taking the fence, connecting to Kafka,
 * finding the topics' ends) to the position in its database being that of the log's end. All is as
 * the configuration's defaults have it: whole source transactions, position stored with the rows.
 */
export async function runUnderstudy(log: BenchLog, name: string): Promise<number> {
  const config = parseConfig(JSON.stringify(configOf(log, name)), {
    file: 'understudy.yaml',
    env: {},
  });
  const url = databaseUrl(log.shadowUrl, name);
  try {
    await using context = await RuntimeContext.open(config, silentLogger);
    const { database } = await ensureTrunk(context);
    await database[Symbol.asyncDispose]();
    await onDatabase(url, (door) => log.tables.fill(door));

    const began = performance.now();
    let reached: number | undefined;
    await materialize(context, {
      signal: new AbortController().signal,
      onProgress: ({ done, total }) => {
        if (done === total) reached ??= performance.now();
      },
    });
    if (reached === undefined) throw new Error('understudy did not say that it has caught up');
    await assertReached('understudy', url, log);
    return (log.events / (reached - began)) * 1_000;
  } finally {
    await forgetDatabase(log.shadowUrl, name);
    await forgetDatabase(log.shadowUrl, `${name}__understudy`);
  }
}

/** The configuration that follows a log into a trunk of this name. */
function configOf(log: BenchLog, trunk: string): object {
  return {
    source: {
      connector: log.connector,
      topicPrefix: log.topicPrefix,
      kafka: { brokers: [log.broker] },
      ...log.form,
    },
    production: { url: log.productionUrl },
    shadow: { url: log.shadowUrl },
    trunk: { name: trunk },
  };
}
