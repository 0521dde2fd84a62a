/**
 * Two processes that share one trunk of MySQL or MariaDB, on real parts: a member that is killed, a holder
 * that is, keys that are swapped between partitions, truncates. In the end the trunk has production's
 * rows, and every record was written once. Each test starts where the one before ended.
 */
import type { Connection, RowDataPacket } from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { binlogState } from '../support/binlog-traffic.ts';
import { binlogConnector } from '../support/connectors.ts';
import { startMariaDB } from '../support/mariadb.ts';
import { startMySQL } from '../support/mysql.ts';
import { ScaleOut } from '../support/scale-out.ts';
import { until } from '../support/shop-follow.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { connectBinlog } from '../support/types/binlog.ts';
import { followed, Workplace } from '../support/understudy.ts';

const PARTITIONS = 4;
const TABLES = ['item', 'folder', 'file', 'word'];

describe.each([
  { engine: 'mysql', start: startMySQL },
  { engine: 'mariadb', start: startMariaDB },
] as const)('a trunk of $engine', ({ engine, start }) => {
  const prefix = `scale${engine}${String(process.pid)}`;
  const cleanUp = new AsyncDisposableStack();
  let source: Connection;
  let scale: ScaleOut;

  beforeAll(async () => {
    const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
    const [production, shadow] = await Promise.all([start(), start()]);
    for (const server of [production, shadow]) cleanUp.defer(() => server.stop());
    await production.execute([
      'CREATE DATABASE shop CHARACTER SET utf8mb4',
      'CREATE TABLE shop.mark (id INT AUTO_INCREMENT PRIMARY KEY)',
      'CREATE TABLE shop.item (id INT PRIMARY KEY, n INT, note TEXT)',
      // Rows of both may be written in any order: the shadow looks at no foreign key.
      'CREATE TABLE shop.folder (id INT PRIMARY KEY, n INT)',
      `CREATE TABLE shop.file (id INT PRIMARY KEY, folder INT NOT NULL,
        FOREIGN KEY (folder) REFERENCES folder (id))`,
      // Followed by one: a key has several spellings.
      'CREATE TABLE shop.word (w VARCHAR(30) COLLATE utf8mb4_unicode_ci PRIMARY KEY, n INT)',
    ]);
    source = cleanUp.adopt(await connectBinlog(`${production.url}shop`), (open) => open.end());
    const from = { server: production, database: 'shop', broker: kafka.broker };
    await connect.createConnector(
      prefix,
      await binlogConnector(engine, from, prefix, {
        'topic.creation.default.partitions': String(PARTITIONS),
        'topic.creation.default.replication.factor': '-1',
        'provide.transaction.metadata': 'false',
        'tombstones.on.delete': 'false',
        'snapshot.mode': 'no_data',
      }),
    );
    cleanUp.defer(() => connect.deleteConnector(prefix));
    const admin = kafka.client().admin();
    await admin.connect();
    cleanUp.defer(() => admin.disconnect());
    const topics = [...TABLES, 'mark'].map((table) => `${prefix}.shop.${table}`);
    const workplace = cleanUp.use(
      await Workplace.make({
        ...followed(prefix, {
          ...{ kafka, connect, shadow, connector: engine },
          production: { url: `${production.url}shop` },
        }),
        ...{ consistency: 'key', apply: { leaseSeconds: 2 } },
      }),
    );
    const asked = await connectBinlog(shadow.url);
    cleanUp.defer(() => asked.end());
    const rows = (of: 'production' | 'trunk') =>
      binlogState(`${(of === 'trunk' ? shadow : production).url}shop`, TABLES);
    scale = new ScaleOut({
      ...{ workplace, ours: 'shop__understudy.', topics, rows },
      ask: async (sql) => (await asked.query<RowDataPacket[]>(sql))[0],
      // No place in the log is told of what is in Kafka; what differs in the end is told then.
      settle: async () => {
        const same = async (): Promise<boolean> =>
          JSON.stringify(await rows('trunk')) === JSON.stringify(await rows('production'));
        await scale.until('both are the same', same).catch(() => undefined);
      },
      ends: async () => {
        const offsets = await Promise.all(topics.map((topic) => admin.fetchTopicOffsets(topic)));
        return offsets.flat().reduce((sum, { offset }) => sum + BigInt(offset), 0n);
      },
    });
    // A connector that takes no snapshot sees nothing of what was before it began.
    await until(
      'the connector has begun',
      async () => {
        await source.query('INSERT INTO mark VALUES ()');
        return (await admin.fetchTopicOffsets(`${prefix}.shop.mark`).catch(() => [])).length > 0;
      },
      60_000,
    );
    await insert(1, 200);
    await churn();
  }, 240_000);

  afterAll(() => cleanUp.disposeAsync());

  async function insert(first: number, last: number): Promise<void> {
    const ids = Array.from({ length: last - first + 1 }, (_, i) => first + i);
    await source.query('INSERT INTO item VALUES ?', [ids.map((id) => [id, 0, `of ${String(id)}`])]);
  }

  let round = 0;

  async function churn(): Promise<void> {
    await source.query('UPDATE item SET n = n + 1 WHERE id % 3 = 0');
    await source.query('DELETE FROM item WHERE id % 17 = 0');
    await source.query('UPDATE item SET n = n + 10 WHERE id % 5 = 1');
    const ids = Array.from({ length: 20 }, (_, i) => round * 20 + i);
    await source.query('INSERT INTO folder VALUES ?', [ids.map((id) => [id, 0])]);
    await source.query('INSERT INTO file VALUES ?', [ids.map((id) => [id, id])]);
    await source.query('DELETE FROM file WHERE id % 3 = 1');
    await source.query('DELETE FROM folder WHERE id % 3 = 1');
    await source.query('UPDATE folder SET n = n + 1');
    await source.query('INSERT INTO word VALUES (?, 0)', [`straße${String(round)}`]);
    await source.query('UPDATE word SET w = UPPER(w), n = n + 1 WHERE n = 0');
    round += 1;
  }

  it('shares the partitions, and takes over what a killed one had', async () => {
    await scale.livesThrough(churn);
    expect((await scale.status()).members[0]?.partitions.length).toBeGreaterThanOrEqual(1);
    expect(await scale.sharedTopics()).not.toContain(`${prefix}.shop.word`);
  }, 100_000);

  it('a member that is stopped loses its share, and woken up it repeats nothing', async () => {
    const member = await scale.outwaits(churn);
    expect(member.process.exitCode).toBeNull();
  }, 100_000);

  it('swaps keys between partitions', async () => {
    await source.query('DELETE FROM item WHERE id BETWEEN 1 AND 8');
    await insert(1, 8);
    await scale.equal();
    await scale.shared();
    for (const [a, b] of [
      [1, 2],
      [3, 4],
      [5, 6],
      [2, 7],
    ]) {
      await source.beginTransaction();
      await source.query('UPDATE item SET id = -1 WHERE id = ?', [a]);
      await source.query('UPDATE item SET id = ? WHERE id = ?', [a, b]);
      await source.query('UPDATE item SET id = ? WHERE id = -1', [b]);
      await source.commit();
    }
    await churn();
    await scale.equal();
    expect(scale.runs.some(({ stderr }) => stderr.includes('"why":"key-change"'))).toBe(true);
  }, 100_000);

  it('empties a table between what was before and after it in all partitions', async () => {
    await scale.shared();
    for (let times = 0; times < 2; times += 1) {
      await churn();
      await source.query('TRUNCATE item');
      scale.truncates += 1;
      await insert(1, 300);
      await churn();
    }
    await scale.equalBehindTruncates();
    expect(scale.runs.some(({ stderr }) => stderr.includes('"why":"truncate"'))).toBe(true);
    expect(await scale.status()).toMatchObject({ parked: 0, unknown: 0, deadLetters: 0 });
  }, 100_000);
});
