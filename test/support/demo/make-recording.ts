/**
 * Makes the demo's event log from the real parts: a shop on PostgreSQL, Debezium, Kafka. Writes
 * `src/demo/assets/`: the recording, the requests that were mirrored, and a manifest of
 * production pinned near the end of the traffic.
 *
 *   npm run demo:record
 */
import { readFile, stat, writeFile } from 'node:fs/promises';
import pg from 'pg';
import type { LogRecord } from '../../../src/change/record.ts';
import type { OffsetMap } from '../../../src/change/position.ts';
import type { ShopRequest } from '../../../src/demo/shop/requests.ts';
import { handle } from '../../../src/demo/shop/service.ts';
import type { TrafficWindow } from '../../../src/demo/traffic.ts';
import { makeCatalogue, makeLane, type Catalogue } from '../../../src/demo/shop/workload.ts';
import { openKafkaSource } from '../../../src/source/kafka/kafka-source.ts';
import { pollUntil, sleep } from '../../../src/util/wait.ts';
import { connectRest, type ConnectRest } from '../connect-rest.ts';
import { startConnect } from '../connect.ts';
import { postgresConnector } from '../connectors.ts';
import { startKafka } from '../kafka.ts';
import { createDatabase, startPostgres } from '../postgres.ts';
import { fill } from '../shop-traffic.ts';
import { Workplace } from '../understudy.ts';
import { lsnOf, sortByLog } from './log-order.ts';
import { writeRecording } from './write-recording.ts';

const ASSETS = new URL('../../../src/demo/assets/', import.meta.url);
const PREFIX = 'shop';
const WINDOWS = 6;
/** The manifest is pinned while this window's traffic goes on. */
const PINNED_WINDOW = 4;
/** Between its requests, so that the pin falls into the midst of them. */
const PINNED_PAUSE_MS = 40;

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
    const catalogue = makeCatalogue();
    await fillShop(url, catalogue);
    await connect.createConnector(PREFIX, await postgresConnector(url, PREFIX));
    const rest = connectRest(connect.url);
    await reach(rest, url);
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
    const traffic = await makeTraffic(url, catalogue, workplace);
    await reach(rest, url);
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

async function withClient<T>(url: string, act: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await act(client);
  } finally {
    await client.end();
  }
}

/** The shop before anybody watches it: its catalogue and some old orders. */
async function fillShop(url: string, catalogue: Catalogue): Promise<void> {
  const schema = await readFile(new URL('../shop/schema.sql', ASSETS), 'utf8');
  await withClient(url, async (client) => {
    await client.query(schema);
    await fill(client, catalogue);
    const history = makeLane(catalogue, { north: false, orders: 120, seed: 7, plain: true });
    for (const { request } of history) await handle(client, request, 'current');
  });
}

/** Traffic in windows, two regions side by side; returns what the demo mirrors. */
async function makeTraffic(
  url: string,
  catalogue: Catalogue,
  workplace: Workplace,
): Promise<readonly ServedWindow[]> {
  const north = makeLane(catalogue, { north: true, orders: 220, seed: 1, plain: false });
  const south = makeLane(catalogue, { north: false, orders: 420, seed: 2, plain: false });
  const windows: ServedWindow[] = [];
  for (let window = 0; window < WINDOWS; window += 1) {
    const mirrored = share(north, window).map((item) => item.request);
    const start = await currentPosition(url);
    const pauseMs = window === PINNED_WINDOW ? PINNED_PAUSE_MS : 0;
    const others = share(south, window).map((item) => item.request);
    const traffic = Promise.all([serve(url, mirrored, pauseMs), serve(url, others, pauseMs)]);
    if (window === PINNED_WINDOW) {
      const taken = await workplace.run(['drift', 'snapshot', '--with-rows', '--leaf-rows', '200']);
      if (taken.status !== 0) throw new Error(`drift snapshot failed: ${taken.stderr}`);
      say(taken.stdout.trim());
    }
    await traffic;
    windows.push({ start, requests: mirrored });
    say(`window ${window + 1} of ${WINDOWS}`);
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

function share<T>(list: readonly T[], window: number): readonly T[] {
  const at = (i: number): number => Math.floor((list.length * i) / WINDOWS);
  return list.slice(at(window), at(window + 1));
}

async function serve(
  url: string,
  requests: readonly ShopRequest[],
  pauseMs: number,
): Promise<void> {
  await withClient(url, async (client) => {
    for (const request of requests) {
      await handle(client, request, 'current');
      if (pauseMs > 0) await sleep(pauseMs);
    }
  });
}

/**
 * A position that parts what was committed before from what comes after: the message between
 * them keeps the end of one from being the beginning of the other.
 */
async function currentPosition(url: string): Promise<bigint> {
  return withClient(url, async (client) => {
    await client.query(`SELECT pg_logical_emit_message(false, 'demo', 'window')`);
    const { rows } = await client.query<{ lsn: string }>(
      `SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS lsn`,
    );
    return BigInt(rows[0]?.lsn ?? 0);
  });
}

/** Waits until the connector has committed everything up to now. */
async function reach(rest: ConnectRest, url: string): Promise<void> {
  const marker = await withClient(url, async (client) => {
    const { rows } = await client.query<{ lsn: string }>(
      `SELECT pg_logical_emit_message(true, 'demo', 'marker') - '0/0'::pg_lsn AS lsn`,
    );
    return BigInt(rows[0]?.lsn ?? 0);
  });
  await pollUntil({
    probe: async () => {
      const offsets = await rest.offsets(PREFIX);
      return offsets.some(({ offset }) => lsnOf(offset) >= marker) ? true : undefined;
    },
    everyMs: 100,
    timeoutMs: 60_000,
    timeout: () => new Error('the connector does not get on'),
  });
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
