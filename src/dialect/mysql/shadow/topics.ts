import type { Fence } from '../../dialect.ts';
import type { TopicLedger } from '../../topic-ledger.ts';
import type { Client } from '../session/client.ts';
import { companionName, quote } from '../session/names.ts';

export function topicLedger(
  database: string,
  parts: {
    readonly read: <T>(doing: string, fn: (client: Client) => Promise<T>) => Promise<T>;
    readonly act: (
      fence: Fence,
      doing: string,
      fn: (client: Client) => Promise<unknown>,
    ) => Promise<unknown>;
  },
): TopicLedger {
  const table = quote(companionName(database), 'topic');
  return {
    known: () =>
      parts.read('read the topics', async (client) => {
        const rows = await client.rows<{ readonly topic: string; readonly id: string }>(
          `SELECT topic, id FROM ${table}`,
        );
        return new Map(rows.map(({ topic, id }) => [topic, id]));
      }),
    keep: async (fence, ids) => {
      await parts.act(fence, 'keep the topics', async (client) => {
        for (const pair of ids) {
          await client.run(`REPLACE INTO ${table} (topic, id) VALUES (?, ?)`, pair);
        }
      });
    },
  };
}
