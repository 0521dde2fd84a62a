import type pg from 'pg';
import type { Fence } from '../../dialect.ts';
import type { TopicLedger } from '../../topic-ledger.ts';

interface Row extends pg.QueryResultRow {
  readonly topic: string;
  readonly id: string;
}

export function topicLedger(parts: {
  readonly read: <T>(doing: string, fn: (client: pg.Client) => Promise<T>) => Promise<T>;
  readonly act: (
    fence: Fence,
    doing: string,
    fn: (client: pg.Client) => Promise<unknown>,
  ) => Promise<unknown>;
}): TopicLedger {
  return {
    known: () =>
      parts.read('read the topics', async (client) => {
        const { rows } = await client.query<Row>('SELECT topic, id FROM understudy.topic');
        return new Map(rows.map(({ topic, id }) => [topic, id]));
      }),
    keep: async (fence, ids) => {
      await parts.act(fence, 'keep the topics', (client) =>
        client.query(
          `INSERT INTO understudy.topic (topic, id)
            SELECT * FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]))
            ON CONFLICT (topic) DO UPDATE SET id = excluded.id`,
          [[...ids.keys()], [...ids.values()]],
        ),
      );
    },
  };
}
