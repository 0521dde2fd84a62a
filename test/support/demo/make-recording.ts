/**
 * Makes the demo's event log from the real parts: a shop on PostgreSQL, Debezium, Kafka. Writes
 * `src/demo/assets/`: the recording, the requests that were mirrored, and a manifest of
 * production pinned near the end of the traffic.
 *
 *   npm run demo:record
 */
import { readFile, stat, writeFile } from 'node:fs/promises';
import type { LogRecord } from '../../../src/change/record.ts';
import type { OffsetMap } from '../../../src/change/position.ts';
import type { ShopRequest } from '../../../src/demo/shop/requests.ts';
import type { TrafficWindow } from '../../../src/demo/traffic.ts';
import { openKafkaSource } from '../../../src/source/kafka/kafka-source.ts';
import { connectRest } from '../connect-rest.ts';
import { startConnect } from '../connect.ts';
import { postgresConnector } from '../connectors.ts';
import { startKafka } from '../kafka.ts';
import { createDatabase, startPostgres } from '../postgres.ts';
import { Workplace } from '../understudy.ts';
import { sortByLog } from './log-order.ts';
import { ShopProduction } from './shop-production.ts';
import { writeRecording } from './write-recording.ts';

const ASSETS = new URL('../../../src/demo/assets/', import.meta.url);
const PREFIX = 'shop';
/** The manifest is pinned while this window's traffic goes on. */
const PINNED_WINDOW = 4;
/** Between its requests, so that the pin falls into the midst of them. */
const PINNED_PAUSE_MS = 80;

/** A stretch of traffic, and production's position when it began. */
interface ServedWindow {
  readonly start: bigint;
  readonly requests: readonly ShopRequest[];
}

const say = (text: string): boolean => process.stdout.write(`${text}\n`);

async function main(): Promise<void> {
  const production = await startPostgres();
  const shadow = await startPostgres();
  const kafka = await startKafka({ settings: { 'num.partitions': '2' } });
  const connect = await startConnect(kafka);
  try {
    const url = await createDatabase(production.url, 'shop');
    const shop = await ShopProduction.open(url);
    await connect.createConnector(PREFIX, await postgresConnector(url, PREFIX));
    const rest = connectRest(connect.url);
    await shop.settle(rest, PREFIX);
    say('snapshot done; traffic begins');
    await using workplace = await Workplace.make({
      source: {
        connector: 'postgresql',
        topicPrefix: PREFIX,
        kafka: { brokers: kafka.brokers },
        connect: { url: connect.url, name: PREFIX },
      },
      production: { url },
      shadow: { url: shadow.url },
    });
    const traffic = await makeTraffic(shop, workplace);
    await shop.settle(rest, PREFIX);
    const { records, positions } = sortByLog(await readLog(kafka.brokers));
    say(`${records.length} records in the log`);
    await writeRecording(new URL('shop.recording', ASSETS), { topicPrefix: PREFIX, records });
    const windows = traffic.map((window) => markOf(window, records, positions));
    await writeFile(new URL('traffic.json', ASSETS), `${JSON.stringify({ windows })}\n`);
    const manifest = await readFile(`${workplace.directory}/manifest.json`, 'utf8');
    await writeFile(new URL('manifest.json', ASSETS), manifest);
    for (const name of ['shop.recording', 'traffic.json', 'manifest.json']) {
      say(`${name}: ${(await stat(new URL(name, ASSETS))).size} bytes`);
    }
  } finally {
    await connect.stop();
    await kafka.stop();
    await production.stop();
    await shadow.stop();
  }
}

/** Traffic in windows; returns what the demo mirrors. */
async function makeTraffic(
  shop: ShopProduction,
  workplace: Workplace,
): Promise<readonly ServedWindow[]> {
  const windows: ServedWindow[] = [];
  for (const [index, window] of shop.windows.entries()) {
    const start = await shop.position();
    const traffic = shop.serve(window, index === PINNED_WINDOW ? PINNED_PAUSE_MS : 0);
    if (index === PINNED_WINDOW) {
      const taken = await workplace.run(['drift', 'snapshot', '--with-rows', '--leaf-rows', '200']);
      if (taken.status !== 0) throw new Error(`drift snapshot failed: ${taken.stderr}`);
      say(taken.stdout.trim());
    }
    await traffic;
    windows.push({ start, requests: window.mirrored });
    say(`window ${index + 1} of ${shop.windows.length}`);
  }
  return windows;
}

/** Finds the first record of a window, and where the partitions stand there. */
function markOf(
  window: ServedWindow,
  records: readonly LogRecord[],
  positions: readonly bigint[],
): TrafficWindow {
  const record = positions.findIndex((position) => position >= window.start);
  const offsets: Record<string, string> = {};
  for (const { topic, partition, offset } of records.slice(0, record)) {
    offsets[`${topic}/${partition}`] = String(offset + 1n);
  }
  return { record, offsets, requests: window.requests };
}

async function readLog(brokers: string[]): Promise<readonly LogRecord[]> {
  await using source = openKafkaSource({ client: { brokers }, topicPrefix: PREFIX });
  const ends: OffsetMap = await source.ends();
  const missing = new Set([...ends].filter(([, end]) => end > 0n).map(([key]) => key));
  const records: LogRecord[] = [];
  await using stream = await source.open(new Map(), {
    budgetBytes: 1 << 30,
    group: 'demo-recorder',
    signal: new AbortController().signal,
  });
  for await (const chunk of stream.chunks) {
    const key = `${chunk.topic}/${chunk.partition}`;
    const end = ends.get(key) ?? 0n;
    records.push(...chunk.records.filter((record) => record.offset < end));
    if (chunk.next >= end) missing.delete(key);
    if (missing.size === 0) break;
  }
  return records;
}

await main();
