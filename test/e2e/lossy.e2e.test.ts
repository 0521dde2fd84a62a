/** A connector whose modes round what it sends: named by column in `status` and in the verdict. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { postgresConnector } from '../support/connectors.ts';
import { startPostgres, type PostgresServer } from '../support/postgres.ts';
import { settleConnector } from '../support/settle.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { connectTo, testDatabase } from '../support/test-database.ts';
import { followed, Workplace } from '../support/understudy.ts';

const PREFIX = `lossy${process.pid}`;
const production = await testDatabase('production');
let shadow: PostgresServer;
let workplace: Workplace;

beforeAll(async () => {
  shadow = await startPostgres();
  const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
  const client = await connectTo(production.url);
  await client.query(`CREATE TABLE sale (id int PRIMARY KEY, n int, price numeric(30,10), at timestamp(6));
    INSERT INTO sale VALUES (1, 1, 1.5, '2026-01-01 00:00:00'),
      (2, 2, 12345678901234567890.1234567891, '2026-01-01 00:00:00.123456')`);
  const config = await postgresConnector(production.url, PREFIX, {
    'decimal.handling.mode': 'double',
    'time.precision.mode': 'connect',
  });
  await connect.createConnector(PREFIX, config);
  await client.end();
  await settleConnector(production.url, connect, PREFIX);
  workplace = await Workplace.make({
    ...followed(PREFIX, { kafka, connect, production, shadow }),
  });
  await workplace.json(['materialize', '--until-caught-up']);
});

afterAll(async () => {
  await workplace[Symbol.asyncDispose]();
  await (await sharedConnect()).deleteConnector(PREFIX);
  await shadow.stop();
});

const DOUBLE = {
  column: 'price',
  setting: 'decimal.handling.mode=double',
  cure: 'decimal.handling.mode=string or precise',
};
const CONNECT = {
  column: 'at',
  setting: 'time.precision.mode=connect',
  cure: 'time.precision.mode=microseconds',
};

it('is told by status, column by column, with the setting that cures it', async () => {
  const { lossy } = await workplace.json<{ lossy: unknown[] }>(['status']);
  expect(lossy).toHaveLength(2);
  for (const known of [DOUBLE, CONNECT]) {
    expect(lossy).toContainEqual({ table: 'public.sale', ...known });
  }
  const { stdout } = await workplace.run(['status']);
  expect(stdout).toContain(
    `public.sale.price is not sent exactly (${DOUBLE.setting}): ${DOUBLE.cure}\n`,
  );
});

it('is the cause that a drift check names, of no other column and row', async () => {
  const report = await workplace.json<{ verdict: string; differences: unknown[] }>(
    ['drift', 'check'],
    1,
  );
  expect(report).toMatchObject({
    verdict: 'drift',
    differences: [
      {
        key: { id: '2' },
        columns: [DOUBLE, CONNECT].map(({ column, setting, cure }) => ({
          ...{ name: column, cause: 'lossy-setting', cure: `${setting}: ${cure}` },
        })),
      },
    ],
  });
});
