/** A trunk beside production's own log, for the real follower. */
import type pg from 'pg';
import { onTestFinished } from 'vitest';
import type { Fence } from '../../src/dialect/dialect.ts';
import { connectProduction } from '../../src/dialect/postgres/production/production.ts';
import type { PgShadowDatabase } from '../../src/dialect/postgres/shadow/database.ts';
import { connectShadow } from '../../src/dialect/postgres/shadow/server.ts';
import { connect } from '../support/comparison.ts';
import { databaseUrl } from '../support/postgres.ts';
import { SlotLog } from '../support/slot-log.ts';
import { postgresUrl, testDatabase } from '../support/test-database.ts';
import { freshName } from './shadow.fixture.ts';

export interface SlotTrunk {
  readonly url: string;
  readonly productionUrl: string;
  readonly log: SlotLog;
  readonly production: pg.Client;
  readonly shadow: pg.Client;
  readonly database: PgShadowDatabase;
  readonly fence: Fence;
}

let slots = 0;

/** `tables`: production's schema. Gone when the test is over. */
export async function slotTrunk(tables: string): Promise<SlotTrunk> {
  const { url: productionUrl } = await testDatabase('slot');
  const production = await connect(productionUrl);
  onTestFinished(() => production.end());
  await production.query(tables);
  slots += 1;
  const log = await SlotLog.start(productionUrl, `slot_${process.pid}_${slots}`);
  onTestFinished(() => log[Symbol.asyncDispose]());
  const server = await connectShadow(postgresUrl());
  onTestFinished(() => server[Symbol.asyncDispose]());
  const name = freshName('trunk');
  const plan = await (await connectProduction(productionUrl)).planShadow();
  await server.createTrunk({ name, topicPrefix: 'p', plan, bootstrap: false });
  const database = (await server.open(name)) as PgShadowDatabase | null;
  const fence = await database?.takeFence('test');
  if (database === null || fence === null || fence === undefined) throw new Error('not taken');
  onTestFinished(() => database[Symbol.asyncDispose]());
  const url = databaseUrl(postgresUrl(), name);
  const shadow = await connect(url);
  onTestFinished(() => shadow.end());
  return { url, productionUrl, log, production, shadow, database, fence };
}
