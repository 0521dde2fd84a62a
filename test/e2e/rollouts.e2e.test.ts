/**
 * What a team does with rollouts and recordings, by the command line on real parts: look at
 * differences, put rows back, expire, record the log and play it without Kafka, make a trunk from
 * events alone.
 */
import path from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { canonicalState } from '../support/canonical-state.ts';
import { postgresConnector } from '../support/connectors.ts';
import { databaseUrl, startPostgres, type PostgresServer } from '../support/postgres.ts';
import { ShopTraffic } from '../support/shop-traffic.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { testDatabase } from '../support/test-database.ts';
import { followed, Workplace } from '../support/understudy.ts';

const PREFIX = `rollouts${process.pid}`;
const production = await testDatabase('production');

let shadow: PostgresServer;
let workplace: Workplace;
let traffic: ShopTraffic;
let config: Record<string, unknown>;

async function query(url: string, sql: string): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await client.query(sql);
  } finally {
    await client.end();
  }
}

/** What `--sql` prints makes the rows of one side the other's: on a copy of the database. */
async function patched(side: string, database: string, like: string): Promise<void> {
  const copy = `${database}_${side}`;
  await query(shadow.url, `CREATE DATABASE ${copy} TEMPLATE ${database}`);
  const patch = await workplace.run(['rollout', 'diff', 'blue', '--sql', side]);
  expect(patch.status).toBe(0);
  await query(databaseUrl(shadow.url, copy), patch.stdout);
  const [made, wanted] = [databaseUrl(shadow.url, copy), like];
  expect(await canonicalState(made)).toEqual(await canonicalState(wanted));
  await query(shadow.url, `DROP DATABASE ${copy}`);
}

interface Rollout {
  readonly name: string;
  readonly url: string;
  readonly database: string;
  readonly state: string;
}
interface Diff {
  readonly tables: readonly { readonly table: string; readonly updated: number }[];
  readonly rows: readonly {
    readonly table: string;
    readonly key: readonly string[];
    readonly kind: string;
    readonly columns: readonly Readonly<Record<string, string | null>>[];
  }[];
}

describe('rollouts and recordings', () => {
  beforeAll(async () => {
    shadow = await startPostgres();
    const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
    traffic = await ShopTraffic.open(production.url);
    await connect.createConnector(PREFIX, await postgresConnector(production.url, PREFIX));
    await traffic.serve(40);
    await traffic.settle(connect, PREFIX);
    config = {
      ...followed(PREFIX, { kafka, connect, production, shadow }),
    };
    workplace = await Workplace.make(config);
    await workplace.json(['materialize', '--until-caught-up']);
  });

  afterAll(async () => {
    await workplace[Symbol.asyncDispose]();
    await (await sharedConnect()).deleteConnector(PREFIX);
    await shadow.stop();
  });

  it('shows what the candidate changed, values only when asked', async () => {
    const rollout = await workplace.json<Rollout>(['rollout', 'create', 'blue']);
    await query(rollout.url, `UPDATE customers SET name = 'Secret Name' WHERE id IN (3, 4)`);
    const plain = await workplace.run(['rollout', 'diff', 'blue', '--json']);
    expect(plain.stdout).not.toContain('Secret Name');
    const diff = await workplace.json<Diff>(['rollout', 'diff', 'blue', '--show-values']);
    expect(diff.tables).toMatchObject([{ table: 'public.customers', updated: 2 }]);
    expect(diff.rows.map((row) => [row.kind, row.key])).toEqual([
      ['update', ['3']],
      ['update', ['4']],
    ]);
    expect(diff.rows[0]?.columns).toMatchObject([{ name: 'name', candidate: 'Secret Name' }]);
    const text = await workplace.run(['drift', 'report', 'blue', '--fail-on', 'divergence']);
    expect(text.status).toBe(1);
    expect(text.stdout).not.toContain('Secret Name');
  });

  it('puts one row back, then all, and they follow again', async () => {
    const { url } = await workplace.json<Rollout>(['rollout', 'get', 'blue']);
    const one = ['rollout', 'reset', 'blue', '--table', 'public.customers', '--key', '3'];
    expect(await workplace.json(one)).toEqual({ rows: 1 });
    const name = async (id: number): Promise<unknown> =>
      (await query(url, `SELECT name FROM customers WHERE id = ${id}`)).rows[0];
    expect(await name(3)).not.toEqual({ name: 'Secret Name' });
    expect(await name(4)).toEqual({ name: 'Secret Name' });
    await query(production.url, `UPDATE customers SET name = 'Followed' WHERE id IN (3, 4)`);
    await traffic.settle(await sharedConnect(), PREFIX);
    await workplace.json(['materialize', '--until-caught-up']);
    expect(await name(3)).toEqual({ name: 'Followed' });
    expect(await name(4)).toEqual({ name: 'Secret Name' });
    expect(await workplace.json(['rollout', 'reset', 'blue'])).toEqual({ rows: 1 });
    expect(await name(4)).toEqual({ name: 'Followed' });
    expect(await canonicalState(url)).toEqual(await canonicalState(production.url));
  });

  it('lets rows that are production’s again follow it, when asked and by itself', async () => {
    const { url, database } = await workplace.json<Rollout>(['rollout', 'get', 'blue']);
    await query(url, `UPDATE customers SET name = 'Mine' WHERE id IN (3, 4, 5)`);
    await query(url, `UPDATE customers SET name = 'Followed' WHERE id = 3`);
    expect(await workplace.json(['rollout', 'release', 'blue'])).toEqual({ released: 1, kept: 2 });
    const table = ['--table', 'public.customers', '--key', '4'];
    expect((await workplace.run(['rollout', 'release', 'blue', ...table])).stdout).toBe(
      '0 rows given up, 1 row left to the candidate: `understudy rollout reset` puts rows back.\n',
    );
    const owned = async (): Promise<unknown> =>
      (
        await query(
          databaseUrl(shadow.url, database),
          'SELECT id FROM understudy."public.customers#journal" ORDER BY id',
        )
      ).rows;
    await query(url, 'UPDATE customers SET name = name WHERE id = 7');
    expect(await owned()).toEqual([{ id: 4 }, { id: 5 }, { id: 7 }]);
    await workplace.json(['materialize', '--until-caught-up']);
    expect(await owned()).toEqual([{ id: 4 }, { id: 5 }]);
    await query(production.url, `UPDATE customers SET name = 'Mine' WHERE id = 4`);
    await traffic.settle(await sharedConnect(), PREFIX);
    await workplace.configure({ ...config, overlay: { sweepSeconds: 1 } });
    const run = workplace.start(['run']);
    // By production's event.
    await expect.poll(owned, { timeout: 30_000 }).toEqual([{ id: 5 }]);
    // By a sweep, for nothing comes of it.
    await query(
      url,
      `CREATE TEMPORARY TABLE was AS SELECT name FROM customers WHERE id = 6;
       UPDATE customers SET name = 'Back' WHERE id = 6;
       UPDATE customers SET name = was.name FROM was WHERE id = 6`,
    );
    await expect.poll(owned, { timeout: 30_000 }).toEqual([{ id: 5 }]);
    run.kill('SIGTERM');
    await run.ended;
    await workplace.configure(config);
    const diff = await workplace.json<{ readonly outcomes: unknown }>(['rollout', 'diff', 'blue']);
    expect(diff.outcomes).toMatchObject({ converged: 1, reset: 2 });
    await workplace.json(['rollout', 'reset', 'blue']);
  });

  it('compares anew when what captures was taken away, and does not say equal', async () => {
    const { database } = await workplace.json<Rollout>(['rollout', 'create', 'watched']);
    await workplace.configure({ ...config, overlay: { sweepSeconds: 1 } });
    const run = workplace.start(['run']);
    await query(
      databaseUrl(shadow.url, database),
      `BEGIN; ALTER TABLE customers DISABLE TRIGGER ALL;
       UPDATE customers SET name = 'Unseen' WHERE id = 5; COMMIT`,
    );
    const verdicts = async (): Promise<unknown> =>
      (
        await query(
          databaseUrl(shadow.url, 'understudy'),
          `SELECT verdict FROM understudy.drift_run WHERE database = '${database}'`,
        )
      ).rows;
    await expect.poll(verdicts, { timeout: 60_000 }).toEqual([{ verdict: 'inconclusive' }]);
    run.kill('SIGTERM');
    await run.ended;
    await workplace.configure(config);
    await workplace.json(['rollout', 'delete', 'watched']);
  });

  it('keeps production’s twin of a candidate’s row out, lists it, and lets it in for who decides so', async () => {
    const { url } = await workplace.json<Rollout>(['rollout', 'get', 'blue']);
    const twin = `INSERT INTO customers (email, name, created_at)
      VALUES ('twin@example.com', 'Twin', now()) RETURNING id`;
    const ids: number[] = [];
    for (const side of [url, production.url]) {
      ids.push(((await query(side, twin)).rows[0] as { id: number }).id);
    }
    await query(url, `UPDATE customers SET name = 'Ours' WHERE id = 4`);
    await query(production.url, `UPDATE customers SET name = 'Theirs' WHERE id = 4`);
    await query(production.url, `UPDATE customers SET name = 'Still followed' WHERE id = 9`);
    await traffic.settle(await sharedConnect(), PREFIX);
    await workplace.json(['materialize', '--until-caught-up']);
    const name = async (id: number): Promise<unknown> =>
      (await query(url, `SELECT name FROM customers WHERE id = ${id}`)).rows;
    expect(await name(9)).toEqual([{ name: 'Still followed' }]);
    interface Conflicts {
      readonly conflicts: readonly { readonly kind: string; readonly key: readonly string[] }[];
    }
    const listed = async (): Promise<readonly string[]> => {
      const found = await workplace.json<Conflicts>(['rollout', 'conflicts', 'blue']);
      return found.conflicts.map(({ kind, key }) => `${kind} ${key.join()}`).toSorted();
    };
    const both = [`multiple_unique ${ids[1]}`, 'update_differs 4'];
    expect(await listed()).toEqual(both);
    // With a rule that says by what they are the same, they are one row that both made.
    const rules = [{ match: 'public.customers', pairOn: ['email'] }];
    await workplace.configure({ ...config, tables: { rules } });
    expect(await listed()).toEqual(['update_differs 4']);
    const found = await workplace.json<Diff>(['rollout', 'diff', 'blue']);
    expect(found.rows.map(({ kind, key }) => `${kind} ${key.join()}`)).toEqual([
      ...[`pair ${ids[0]}`, 'update 4'],
    ]);
    // Each side took its own time for it.
    const lines = (await workplace.run(['rollout', 'diff', 'blue', '--show-values'])).stdout;
    expect(lines).toMatch(
      new RegExp(`pair    public.customers \\(${ids[0]} = ${ids[1]}\\)  created_at: \\S.* → \\S`),
    );
    expect(lines).not.toMatch(/pair .* (?:name|email): /);
    await workplace.configure(config);
    expect(await listed()).toEqual(both);
    const text = await workplace.run(['rollout', 'conflicts', 'blue', '--show-values']);
    expect(text.stdout).toContain('production Theirs, candidate Ours');
    expect(text.stdout).toContain('by customers_email_key');
    const check = await workplace.json<{ readonly verdict: string }>(['drift', 'check', 'blue']);
    expect(check.verdict).toBe('equal');
    await patched('production', 'shop_blue', production.url);
    await patched('candidate', 'shop', url);
    const resolve = ['rollout', 'resolve', 'blue', '--table', 'public.customers'];
    expect((await workplace.run(resolve)).status).toBe(3);
    const ours = [...resolve, '--ours', '--key', '4'];
    expect(await workplace.json(ours)).toEqual({ resolved: 1, kept: 0 });
    expect(await name(4)).toEqual([{ name: 'Ours' }]);
    expect((await workplace.run([...resolve, '--theirs'])).stdout).toBe('1 conflict resolved.\n');
    expect(await listed()).toEqual([]);
    expect([await name(ids[0] ?? 0), await name(ids[1] ?? 0)]).toEqual([[], [{ name: 'Twin' }]]);
    await workplace.json(['rollout', 'reset', 'blue']);
    expect(await canonicalState(url)).toEqual(await canonicalState(production.url));
  });

  it('waits with production’s events until the candidate has handled the mirrored request', async () => {
    const { url } = await workplace.json<Rollout>(['rollout', 'get', 'blue']);
    const buy = `UPDATE inventory SET on_hand = on_hand - 1 WHERE sku = (SELECT min(sku) FROM inventory)`;
    const differing = async (): Promise<number> =>
      (await workplace.json<Diff>(['rollout', 'diff', 'blue'])).rows.length;
    // The same request on both sides; the event comes first, and is acted on twice.
    await query(production.url, buy);
    await traffic.settle(await sharedConnect(), PREFIX);
    await workplace.json(['materialize', '--until-caught-up']);
    await query(url, buy);
    expect(await differing()).toBe(1);
    await workplace.json(['rollout', 'reset', 'blue']);
    await workplace.configure({ ...config, overlay: { applyDelaySeconds: 8 } });
    const run = workplace.start(['run']);
    const before = await query(url, 'SELECT sum(on_hand)::int AS n FROM inventory');
    await query(production.url, buy);
    await traffic.settle(await sharedConnect(), PREFIX);
    const trunk = databaseUrl(shadow.url, 'shop');
    const sold = [{ n: (before.rows[0] as { n: number }).n - 1 }];
    const sum = async (at: string): Promise<unknown> =>
      (await query(at, 'SELECT sum(on_hand)::int AS n FROM inventory')).rows;
    // The trunk does not wait.
    await expect.poll(() => sum(trunk), { timeout: 20_000 }).toEqual(sold);
    expect(await sum(url)).toEqual(before.rows);
    await query(url, buy);
    expect(await differing()).toBe(1);
    await expect.poll(differing, { timeout: 30_000 }).toBe(0);
    expect(await sum(url)).toEqual(sold);
    run.kill('SIGTERM');
    await run.ended;
    await workplace.configure(config);
  });

  it('refuses a second rollout of that name, and forgets a deleted one', async () => {
    const again = await workplace.run(['rollout', 'create', 'blue']);
    expect(again.status).toBe(3);
    expect(again.stderr).toContain('ROLLOUT_EXISTS');
    await workplace.json(['rollout', 'delete', 'blue']);
    expect(await workplace.json(['rollout', 'list'])).toEqual([]);
    const { rows } = await query(
      shadow.url,
      `SELECT datname FROM pg_database WHERE datname LIKE 'shop\\_%'
       UNION SELECT rolname FROM pg_roles WHERE rolname LIKE 'shop\\_%'`,
    );
    expect(rows).toEqual([]);
    const gone = await workplace.run(['rollout', 'get', 'blue']);
    expect(gone.status).toBe(3);
    expect(gone.stderr).toContain('ROLLOUT_NOT_FOUND');
  });

  it('deletes an expired rollout while it runs', async () => {
    await workplace.json(['rollout', 'create', 'brief', '--ttl', '1s']);
    const run = workplace.start(['run']);
    const deadline = Date.now() + 30_000;
    let left: readonly Rollout[] = [];
    do {
      await new Promise((resolve) => setTimeout(resolve, 300));
      left = await workplace.json<readonly Rollout[]>(['rollout', 'list']);
    } while (left.length > 0 && Date.now() < deadline);
    expect(left).toEqual([]);
    run.kill('SIGTERM');
    expect((await run.ended).status).toBe(0);
  });

  it('says inconclusive, not equal, where the connector’s offsets cannot be read', async () => {
    const source = { ...(config['source'] as object), connect: undefined };
    await workplace.configure({ ...config, source });
    const report = await workplace.json<{ verdict: string; reasons: { code: string }[] }>(
      ['drift', 'check'],
      2,
    );
    expect(report.verdict).toBe('inconclusive');
    expect(report.reasons.map((reason) => reason.code)).toContain('no-committed-offsets');
    const { offsetsTopic } = await sharedConnect();
    await workplace.configure({ ...config, source: { ...source, offsetsTopic } });
    expect(await workplace.json(['drift', 'check'])).toMatchObject({ verdict: 'equal' });
    await workplace.configure(config);
  });

  it('records the log, and a trunk played from the file equals production', async () => {
    const recorded = await workplace.json<{ records: number }>([
      'record',
      '--out',
      'shop.recording',
    ]);
    expect(recorded.records).toBeGreaterThan(500);
    await workplace.configure({
      ...config,
      source: {
        topicPrefix: PREFIX,
        recording: path.join(workplace.directory, 'shop.recording'),
      },
      trunk: { name: 'played' },
    });
    await workplace.json(['materialize', '--until-caught-up']);
    expect(await canonicalState(databaseUrl(shadow.url, 'played'))).toEqual(
      await canonicalState(production.url),
    );
  });

  it('makes a trunk from events alone, with the same rows', async () => {
    await workplace.configure({ ...config, trunk: { name: 'told', schema: 'events' } });
    await workplace.json(['materialize', '--until-caught-up']);
    const counts = async (url: string): Promise<unknown> =>
      (
        await query(
          url,
          `SELECT (SELECT count(*) FROM orders) AS orders, (SELECT sum(amount::numeric) FROM payments) AS paid,
             (SELECT count(*) FROM products WHERE length(description) > 2000) AS described,
             (SELECT count(*) FROM customers WHERE address IS NOT NULL) AS addressed`,
        )
      ).rows[0];
    expect(await counts(databaseUrl(shadow.url, 'told'))).toEqual(await counts(production.url));
    await workplace.configure(config);
  });

  it('checks against a manifest written before, and knows when it came too late', async () => {
    await workplace.json(['drift', 'snapshot', '--with-rows', '--out', 'now.json']);
    expect(await workplace.json(['drift', 'check', '--manifest', 'now.json'])).toMatchObject({
      verdict: 'equal',
    });
    await traffic.serve(10);
    await traffic.settle(await sharedConnect(), PREFIX);
    await workplace.json(['materialize', '--until-caught-up']);
    const late = await workplace.json<{ reasons: { code: string }[] }>(
      ['drift', 'check', '--manifest', 'now.json'],
      2,
    );
    expect(late.reasons.map((reason) => reason.code)).toEqual(['position-passed']);
  });
});
