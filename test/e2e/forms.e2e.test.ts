/**
 * What transforms and converters of a real connector make of the records: whichever form they have,
 * the shadow comes to be what production is.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { canonicalState } from '../support/canonical-state.ts';
import type { ConnectorConfig } from '../support/connect-rest.ts';
import { postgresConnector } from '../support/connectors.ts';
import { databaseUrl, startPostgres, type PostgresServer } from '../support/postgres.ts';
import { avroConverters } from '../support/registry.ts';
import { settleConnector } from '../support/settle.ts';
import { sharedConnect, sharedKafka, sharedRegistry } from '../support/shared-stack.ts';
import { connectTo, testDatabase } from '../support/test-database.ts';
import { Workplace } from '../support/understudy.ts';

const production = await testDatabase('production');
let shadow: PostgresServer;

const SCHEMA = `
  CREATE TABLE item (id int PRIMARY KEY, v text DEFAULT 'dflt', n numeric(10,2),
    big bigint NOT NULL DEFAULT 7, b bytea, at timestamptz, large text);
  CREATE TABLE pair (b int, a int, v text, PRIMARY KEY (b, a));
  CREATE TABLE "Od d" (id int PRIMARY KEY, "x y" text);
  INSERT INTO item SELECT i, 'v' || i, i / 7.0, 9007199254740993 + i, decode('00ff', 'hex'), now(),
    (SELECT string_agg(md5((i * k)::text), '') FROM generate_series(1, 400) k)
    FROM generate_series(1, 40) i;
  INSERT INTO pair SELECT i % 5, i, 'p' FROM generate_series(1, 20) i;
  INSERT INTO "Od d" SELECT i, 'o' FROM generate_series(1, 5) i;`;

/** Inserts, updates that leave the large column alone, NULLs, key changes, deletes. */
const CHANGES = `
  BEGIN;
  UPDATE item SET v = v || '+', n = NULL WHERE id % 3 = 0;
  UPDATE item SET id = id + 1000 WHERE id % 7 = 0;
  COMMIT;
  DELETE FROM item WHERE id % 5 = 0 AND id < 1000;
  INSERT INTO item (id, v, n, big) VALUES
    ((SELECT max(id) + 1 FROM item), NULL, 1.50, 9223372036854775807);
  UPDATE pair SET v = 'q'; UPDATE pair SET b = b + 10 WHERE a % 4 = 0; DELETE FROM pair WHERE a = 3;
  UPDATE "Od d" SET "x y" = 'p' WHERE id = 2; DELETE FROM "Od d" WHERE id = 3;
  SELECT pg_logical_emit_message(true, 'pfx', 'hello');`;

const TRUNCATES = `TRUNCATE "Od d"; INSERT INTO "Od d" VALUES (1, 'new'); ${CHANGES}`;

const FLATTENED = {
  transforms: 'u',
  'transforms.u.type': 'io.debezium.transforms.ExtractNewRecordState',
};

interface Variant {
  readonly name: string;
  readonly connector: () => Promise<ConnectorConfig> | ConnectorConfig;
  readonly source: object;
  /** The connector is asked for its modes. */
  readonly inspected?: true;
  readonly top?: object;
  readonly changes: string;
  /** What status must say of the form. */
  readonly limits: readonly string[];
}

const VARIANTS: readonly Variant[] = [
  // The first: this converter sends a column's default for the NULLs that the others bring.
  {
    name: 'flat_avro',
    connector: async () => ({ ...FLATTENED, ...avroConverters(await sharedRegistry()) }),
    source: { form: 'flat', modes: { names: 'avro' } },
    changes: CHANGES.replaceAll('n = NULL', 'n = 0').replaceAll('NULL, 1.50', "'x', 1.50"),
    limits: ['no transactions', 'no old rows', 'insert', 'truncates', 'without a key'],
  },
  {
    name: 'flat_bare',
    connector: () => ({
      ...FLATTENED,
      'key.converter.schemas.enable': 'false',
      'value.converter.schemas.enable': 'false',
      'decimal.handling.mode': 'precise',
    }),
    source: {
      form: 'flat',
      modes: { time: 'adaptive', decimal: 'precise', binary: 'bytes', interval: 'string' },
    },
    changes: CHANGES,
    limits: ['no transactions', 'no old rows', 'insert', 'truncates', 'without a key'],
  },
  {
    name: 'flat_rewrite',
    connector: () => ({
      ...FLATTENED,
      'transforms.u.delete.tombstone.handling.mode': 'rewrite',
      'transforms.u.replace.null.with.default': 'false',
      'transforms.u.add.fields': 'op,table,lsn,source.schema,source.ts_ms,source.sequence',
    }),
    source: { form: 'flat' },
    inspected: true,
    changes: CHANGES,
    limits: ['no transactions', 'no old rows', 'insert', 'truncates', 'default'],
  },
  {
    name: 'events',
    connector: () => ({
      'value.converter': 'io.debezium.converters.CloudEventsConverter',
      'value.converter.json.replace.null.with.default': 'false',
    }),
    source: { form: 'cloudevents' },
    changes: TRUNCATES,
    limits: ['no boundaries', 'no logical messages'],
  },
  {
    name: 'routed',
    connector: () => ({
      transforms: 'r',
      'transforms.r.type': 'io.debezium.transforms.ByLogicalTableRouter',
      'transforms.r.topic.regex': '(.*)\\.public\\.(.*)',
      'transforms.r.topic.replacement': '$1_all',
    }),
    source: { extraTopics: ['forms_.*_all'] },
    changes: TRUNCATES,
    limits: [],
  },
  {
    name: 'keyed',
    connector: () => ({ 'message.key.columns': 'public.item:big;public.pair:a' }),
    source: {},
    changes: TRUNCATES,
    limits: [],
  },
];

beforeAll(async () => {
  shadow = await startPostgres();
  // Here, not in the first test: a first start takes minutes.
  await Promise.all([sharedKafka(), sharedConnect(), sharedRegistry()]);
  const sql = await connectTo(production.url);
  await sql.query(SCHEMA);
  await sql.end();
});

afterAll(() => shadow.stop());

it.each(VARIANTS)('the shadow equals production: $name', async (variant) => {
  const prefix = `forms_${process.pid}_${variant.name}`;
  const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
  const config = await postgresConnector(production.url, prefix, await variant.connector());
  const registry =
    variant.name === 'flat_avro'
      ? { schemaRegistry: { url: (await sharedRegistry()).url } }
      : undefined;
  await connect.createConnector(prefix, config);
  try {
    await settleConnector(production.url, connect, prefix);
    const sql = await connectTo(production.url);
    await sql.query(variant.changes);
    await sql.end();
    await settleConnector(production.url, connect, prefix);
    await using workplace = await Workplace.make({
      source: {
        connector: 'postgresql',
        topicPrefix: prefix,
        kafka: { brokers: [kafka.broker] },
        ...registry,
        ...(variant.inspected && { connect: { url: connect.url, name: prefix } }),
        ...variant.source,
      },
      production: { url: production.url },
      shadow: { url: shadow.url },
      trunk: { name: variant.name },
      apply: { stallLimitSeconds: 20 },
    });
    const summary = await workplace.json<{ parked: number }>(['materialize', '--until-caught-up']);
    expect(summary.parked).toBe(0);
    expect(await canonicalState(databaseUrl(shadow.url, variant.name))).toEqual(
      await canonicalState(production.url),
    );
    const status = await workplace.json<{ limits: readonly string[] }>(['status']);
    expect(status.limits).toHaveLength(variant.limits.length);
    variant.limits.forEach((text, i) => expect(status.limits[i]).toContain(text));
  } finally {
    await connect.deleteConnector(prefix);
  }
});
