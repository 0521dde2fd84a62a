/** A trunk that follows production's own log, and sets aside what it refuses. */
import type { FollowerParts } from '../../src/apply/follower-parts.ts';
import type pg from 'pg';
import { expect, onTestFinished } from 'vitest';
import type { Follower } from '../../src/apply/follower.ts';
import type { DecodedRecord } from '../../src/change/record.ts';
import type { DeadLetter } from '../../src/dialect/dead-letters.ts';
import type { Fence } from '../../src/dialect/dialect.ts';
import { connectProduction } from '../../src/dialect/postgres/production/production.ts';
import type { PgShadowDatabase } from '../../src/dialect/postgres/shadow/database.ts';
import { connectShadow } from '../../src/dialect/postgres/shadow/server.ts';
import { followSlotLog, loggedUntilNow } from '../support/follow-slot-log.ts';
import { connect } from '../support/comparison.ts';
import { databaseUrl } from '../support/postgres.ts';
import { SlotLog } from '../support/slot-log.ts';
import { postgresUrl, testDatabase } from '../support/test-database.ts';
import { freshName } from './shadow.fixture.ts';

export interface Setting {
  readonly url: string;
  readonly productionUrl: string;
  readonly log: SlotLog;
  readonly production: pg.Client;
  readonly shadow: pg.Client;
  readonly database: PgShadowDatabase;
  readonly fence: Fence;
}

let slots = 0;

/** `tables`: production's schema. */
export async function setting(tables: string): Promise<Setting> {
  const { url: productionUrl } = await testDatabase('dead');
  const production = await connect(productionUrl);
  onTestFinished(() => production.end());
  await production.query(tables);
  slots += 1;
  const log = await SlotLog.start(productionUrl, `dead_${process.pid}_${slots}`);
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

export type Writes = FollowerParts['database'];

interface Following {
  readonly follower: Follower;
  readonly done: Promise<void>;
  /** Waits until all is applied that production has committed. */
  readonly catchUp: () => Promise<void>;
}

export async function follow(
  at: Setting,
  options: {
    readonly max?: number;
    readonly writes?: Writes | undefined;
    readonly decode?: (record: DecodedRecord) => DecodedRecord;
  } = {},
): Promise<Following> {
  const { max = 10, writes, decode = (record) => record } = options;
  const { follower, done } = await followSlotLog(at, {
    writes,
    decode: (record) => decode(at.log.decode(record)),
    dead: { box: at.database.deadLetters, catalogue: await at.database.catalogue(), max },
    batchEvents: 50,
  });
  return { follower, done, catchUp: () => catchUp(at, follower) };
}

export async function catchUp(at: Setting, follower: Follower): Promise<void> {
  const { ends, starts } = await loggedUntilNow(at.production, at.log);
  await follower.until(() => follower.caughtUp(ends, starts));
  expect(follower.state.kind).not.toBe('stopped');
}

/** All that is written, as a whole transaction each. */
export async function commit(at: Setting, ...transactions: readonly string[]): Promise<void> {
  for (const sql of transactions) await at.production.query(`BEGIN; ${sql}; COMMIT`);
}

export const letters = (at: Setting): Promise<readonly DeadLetter[]> =>
  at.database.deadLetters.list();
