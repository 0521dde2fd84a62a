/** How old a change is when it can be seen in the shadow, under small traffic. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Kafka } from 'kafkajs';
import { pollUntil } from '../../../src/util/wait.ts';
import { databaseUrl } from '../../support/postgres.ts';
import { postgresConnector } from '../../support/connectors.ts';
import { payloadOf, readTopics, type TopicRecord } from '../../support/read-topics.ts';
import { settleConnector } from '../../support/settle.ts';
import { Workplace } from '../../support/understudy.ts';
import { besideRun } from './beside-run.ts';
import { forgetDatabase, makeDatabase, onDatabase, type Door } from './door.ts';
import type { BenchServers } from './servers.ts';

const PREFIX = 'fresh';
/** Two changes each, in one transaction. */
const TRANSACTIONS_PER_SECOND = 250;
const SECONDS = 20;
/** Between two looks at the shadow; it is part of what is measured. */
const LOOK_MS = 2;

export interface Freshness extends AsyncDisposable {
  /** One run: the 99th percentile, in ms, from a record's time in Kafka to its row being there. */
  run(name: string): Promise<number>;
}

/** 500 changes a second while `understudy run` follows, with all settings at their defaults. */
export async function openFreshness(servers: BenchServers): Promise<Freshness> {
  const [production, shadow] = [await servers.production(), await servers.shadow()];
  const [kafka, connect] = [await servers.kafka(), await servers.connect()];
  const url = await makeDatabase(production.url, PREFIX);
  await onDatabase(url, (door) =>
    door.query(`CREATE TABLE event (id int PRIMARY KEY, n int NOT NULL);
      CREATE TABLE total (id int PRIMARY KEY, n int NOT NULL);
      INSERT INTO total SELECT i, 0 FROM generate_series(1, 1000) i`),
  );
  await connect.createConnector(PREFIX, await postgresConnector(url, PREFIX));
  await settleConnector(url, connect, PREFIX);
  let last = 0;
  return {
    async run(name) {
      const config = {
        source: { topicPrefix: PREFIX, kafka: { brokers: [kafka.broker] } },
        production: { url },
        shadow: { url: shadow.url },
        trunk: { name },
      };
      await using workplace = await Workplace.make(config);
      await workplace.json(['materialize', '--until-caught-up']);
      const first = last + 1;
      last += TRANSACTIONS_PER_SECOND * SECONDS;
      try {
        const seen = await besideRun(config, () =>
          onDatabase(url, (writer) =>
            onDatabase(databaseUrl(shadow.url, name), async (reader) => {
              // A second to warm up.
              await write(writer, first, first + TRANSACTIONS_PER_SECOND - 1, reader);
              return write(writer, first + TRANSACTIONS_PER_SECOND, last, reader);
            }),
          ),
        );
        return percentile(await ages(kafka.client(), seen), 0.99);
      } finally {
        await forgetDatabase(shadow.url, name);
      }
    },
    [Symbol.asyncDispose]: () => connect.deleteConnector(PREFIX),
  };
}

/** When each id was there, by the clock that Kafka's times are of. */
async function write(
  writer: Door,
  first: number,
  last: number,
  reader: Door,
): Promise<ReadonlyMap<number, number>> {
  const seen = new Map<number, number>();
  let shown = first - 1;
  const look = async (): Promise<void> => {
    const [row] = await reader.query('SELECT max(id) AS id FROM event');
    const now = Date.now();
    for (const id = Number(row?.['id'] ?? 0); shown < id;) seen.set((shown += 1), now);
  };
  const began = performance.now();
  const writing = (async () => {
    for (let id = first; id <= last; id += 1) {
      const dueMs = ((id - first) / TRANSACTIONS_PER_SECOND) * 1_000;
      const earlyMs = dueMs - (performance.now() - began);
      if (earlyMs > 1) await sleep(earlyMs);
      await writer.query(`INSERT INTO event VALUES (${id}, ${id});
        UPDATE total SET n = n + 1 WHERE id = 1 + ${id} % 1000`);
    }
  })();
  await pollUntil({
    probe: async () => {
      await look();
      return shown >= last ? true : undefined;
    },
    ...{ everyMs: LOOK_MS, timeoutMs: 120_000 },
    timeout: () => new Error('the shadow does not keep up'),
  });
  await writing;
  return seen;
}

/** In ms, of the rows that were seen: from the record's time, which its producer gave it. */
async function ages(kafka: Kafka, seen: ReadonlyMap<number, number>): Promise<readonly number[]> {
  const ofRows = (records: readonly TopicRecord[]): readonly number[] =>
    records.flatMap(({ value, timestampMs }) => {
      const row = payloadOf(value)?.['after'] as { readonly id: number } | undefined;
      const at = row === undefined ? undefined : seen.get(row.id);
      return at === undefined ? [] : [at - timestampMs];
    });
  const topic = `${PREFIX}.public.event`;
  const last = Math.max(...seen.keys());
  const records = await readTopics(kafka, [topic], (all) => all.length >= last);
  const found = ofRows(records);
  if (found.length !== seen.size)
    throw new Error(`${found.length} of ${seen.size} rows have a record`);
  return found;
}

function percentile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return Math.max(1, sorted[Math.ceil(sorted.length * part) - 1] ?? Number.NaN);
}
