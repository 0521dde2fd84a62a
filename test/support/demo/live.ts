/**
 * The demo's stage on real parts: a shop on PostgreSQL, Debezium in Kafka Connect, Kafka, and a
 * shadow server of its own. All on free ports; nothing is left when it is disposed of.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { loadConfig } from '../../../src/config/load.ts';
import type { OpenStagecraft, Stagecraft } from '../../../src/demo/stagecraft.ts';
import { RuntimeContext } from '../../../src/runtime/context.ts';
import { startConnect } from '../connect.ts';
import { postgresConnector } from '../connectors.ts';
import { startKafka } from '../kafka.ts';
import { createDatabase, startPostgres } from '../postgres.ts';
import { removeFolder, temporaryFolder } from '../process/folders.ts';
import { ShopProduction } from './shop-production.ts';

const PREFIX = 'shop';
/**
 * The traffic into which the check's pin falls is slow enough to last as long as the check. It has
 * no TRUNCATE, which would keep production's snapshot from seeing a table as it was.
 */
const CHECKED_WINDOW = 5;
const CHECKED_PAUSE_MS = 20;

export const openLive: OpenStagecraft = async ({ say, logger, signal }): Promise<Stagecraft> => {
  const opened = new AsyncDisposableStack();
  /** What was started is stopped in any case, even if it was up only after the interrupt. */
  const started = async <T extends { stop(): Promise<void> }>(starting: Promise<T>): Promise<T> => {
    const part = await starting;
    opened.defer(() => part.stop());
    signal.throwIfAborted();
    return part;
  };
  try {
    const directory = await temporaryFolder('demo');
    opened.defer(() => removeFolder(directory));
    const production = await started(startPostgres());
    const shadow = await started(startPostgres());
    const url = await createDatabase(production.url, 'shop');
    const shop = await ShopProduction.open(url);
    say('Production     a shop on PostgreSQL');
    const kafka = await started(startKafka({ settings: { 'num.partitions': '2' } }));
    const connect = await started(startConnect(kafka));
    await connect.createConnector(PREFIX, await postgresConnector(url, PREFIX));
    await shop.settle(connect, PREFIX, signal);
    say('Event log      Debezium in Kafka Connect, into Kafka');
    const configFile = join(directory, 'understudy.yaml');
    const settings = {
      source: {
        connector: 'postgresql',
        topicPrefix: PREFIX,
        kafka: { brokers: [kafka.broker] },
        connect: { url: connect.url, name: PREFIX },
      },
      production: { url },
      shadow: { url: shadow.url },
      trunk: { name: 'shop' },
    };
    await writeFile(configFile, stringify(settings), { mode: 0o600 });
    const context = opened.use(await RuntimeContext.open(await loadConfig(configFile, {}), logger));
    const source = opened.use(await context.openSource());
    say('Shadow server  another PostgreSQL');
    return {
      context,
      configFile,
      windows: shop.windows.map(({ mirrored }) => ({ requests: mirrored })),
      checkedWindow: CHECKED_WINDOW,
      manifest: () => Promise.resolve(null),
      beforeTraffic: () => source.ends(),
      async advance(index) {
        const window = shop.windows[index];
        if (window === undefined) throw new RangeError(`there is no window ${index}`);
        await shop.serve(window, index === CHECKED_WINDOW ? CHECKED_PAUSE_MS : 0, signal);
        await shop.settle(connect, PREFIX, signal);
        return source.ends();
      },
      [Symbol.asyncDispose]: () => opened.disposeAsync(),
    };
  } catch (error) {
    await opened.disposeAsync();
    // What an interrupt broke off is no failure of its own.
    signal.throwIfAborted();
    throw error;
  }
};
