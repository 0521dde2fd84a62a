import { parseConfig } from '../../src/config/load.ts';
import { silentLogger } from '../../src/observability/logger.ts';
import { RuntimeContext } from '../../src/runtime/context.ts';
import { materialize } from '../../src/runtime/materialize.ts';
import { ensureTrunk } from '../../src/runtime/trunk.ts';
import { databaseUrl, dropDatabase } from '../support/postgres.ts';
import type { AccountsLog } from './accounts-log.ts';
import { assertReached, fillAccounts } from './accounts.ts';

/**
 * One run of `understudy materialize --until-caught-up`, within this process, into a trunk of its
 * own: the events it applied per second, from its start (taking the fence, connecting to Kafka,
 * finding the topics' ends) to the position in its database being that of the log's end. All is as
 * the configuration's defaults have it: whole source transactions, position stored with the rows.
 */
export async function runUnderstudy(log: AccountsLog, name: string): Promise<number> {
  const config = parseConfig(
    JSON.stringify({
      source: { topicPrefix: log.topicPrefix, kafka: { brokers: [log.broker] } },
      production: { url: log.productionUrl },
      shadow: { url: log.shadowUrl },
      trunk: { name },
    }),
    { file: 'understudy.yaml', env: {} },
  );
  const url = databaseUrl(log.shadowUrl, name);
  try {
    await using context = await RuntimeContext.open(config, silentLogger);
    const { database } = await ensureTrunk(context);
    await database[Symbol.asyncDispose]();
    await fillAccounts(url, log.prefilled);

    const began = performance.now();
    let reached: number | undefined;
    await materialize(context, {
      signal: new AbortController().signal,
      onProgress: ({ done, total }) => {
        if (done === total) reached ??= performance.now();
      },
    });
    if (reached === undefined) throw new Error('understudy did not say that it has caught up');
    await assertReached('understudy', url, log.goal);
    return (log.events / (reached - began)) * 1_000;
  } finally {
    await dropDatabase(log.shadowUrl, name);
  }
}
