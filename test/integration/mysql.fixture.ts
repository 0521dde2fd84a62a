/** Shadows on the run's MySQL and MariaDB, each test with databases of its own. */
import { randomBytes } from 'node:crypto';
import mysql, { type Connection } from 'mysql2/promise';
import { onTestFinished } from 'vitest';
import type { ShadowPlan } from '../../src/schema/shadow-plan.ts';
import type { Position } from '../../src/change/position.ts';
import { RowShape, type ColumnValue, type KnownValue } from '../../src/change/value.ts';
import type { Fence, ShadowDatabase, ShadowServer } from '../../src/dialect/dialect.ts';
import { dialectFor } from '../../src/dialect/registry.ts';
import type { BatchStep, ChangeBatch, NetChange } from '../../src/order/change-batch.ts';
import { sharedMariaDB, sharedMySQL, type SharedMySql } from '../support/shared-stack.ts';

export const ENGINES = ['mysql', 'mariadb'] as const;
export type Engine = (typeof ENGINES)[number];

export function serverOf(engine: Engine): Promise<SharedMySql> {
  return engine === 'mysql' ? sharedMySQL() : sharedMariaDB();
}

/** A session on the server with exact values; it ends with the test. */
export async function sessionOn(url: string, database?: string): Promise<Connection> {
  const connection = await mysql.createConnection({
    ...{ uri: url, supportBigNumbers: true, bigNumberStrings: true, dateStrings: true },
    ...(database !== undefined && { database }),
  });
  connection.on('error', () => undefined);
  await connection.query(
    `SET SESSION sql_mode = 'STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO',
      time_zone = '+00:00'`,
  );
  onTestFinished(() => connection.end().catch(() => undefined));
  return connection;
}

export type Row = Readonly<Record<string, unknown>>;

export async function rowsOf(client: Connection, sql: string): Promise<readonly Row[]> {
  const [rows] = await client.query(sql);
  return rows as Row[];
}

/** A name nobody uses; the databases of this name go with the test. */
export function freshName(purpose: string, url: string): string {
  const name = `${purpose}_${randomBytes(4).toString('hex')}`;
  onTestFinished(async () => {
    const connection = await mysql.createConnection({ uri: url });
    await connection.query(`DROP DATABASE IF EXISTS \`${name}\``);
    await connection.query(`DROP DATABASE IF EXISTS \`${name}__understudy\``);
    await connection.end();
  });
  return name;
}

export async function shadowServer(url: string, leaseMs = 60_000): Promise<ShadowServer> {
  const server = await dialectFor(url).connectShadow(url, { leaseMs });
  onTestFinished(() => server[Symbol.asyncDispose]());
  return server;
}

/** A database as production, and a trunk made from its schema, on one server. */
export interface Stage {
  readonly url: string;
  readonly server: ShadowServer;
  readonly source: string;
  readonly trunk: string;
  readonly database: ShadowDatabase;
  readonly fence: Fence;
  /** Its default database is the trunk. */
  readonly client: Connection;
  apply(...steps: readonly BatchStep[]): ReturnType<ShadowDatabase['apply']>;
  rows(sql: string): Promise<readonly Row[]>;
  /** Of production as it is by now. */
  plan(): Promise<ShadowPlan>;
}

export async function stageOf(engine: Engine, ...ddl: readonly string[]): Promise<Stage> {
  return stageAt((await serverOf(engine)).url, ...ddl);
}

/** On a server of the test's own. `{db}` stands for the name of production's database. */
export async function stageAt(url: string, ...ddl: readonly string[]): Promise<Stage> {
  const source = freshName('prod', url);
  const setup = await sessionOn(url);
  await setup.query(`CREATE DATABASE ${source} CHARACTER SET utf8mb4`);
  await setup.query(`USE ${source}`);
  for (const sql of ddl) await setup.query(sql.replaceAll('{db}', source));
  const production = await dialectFor(url).connectProduction(`${url}${source}`, () => true);
  const plan = await production.planShadow();
  const server = await shadowServer(url);
  const trunk = freshName('trunk', url);
  await server.createTrunk({ name: trunk, topicPrefix: 'p', plan });
  const database = await openTrunk(server, trunk);
  const fence = await database.takeFence('test');
  if (fence === null) throw new Error('the fence of a new trunk is taken');
  const client = await sessionOn(url, trunk);
  return {
    ...{ url, server, source, trunk, database, fence, client },
    plan: () => production.planShadow(),
    apply: (...steps) => database.apply(fence, batchOf(steps)),
    rows: (sql) => rowsOf(client, sql),
  };
}

export async function openTrunk(server: ShadowServer, trunk: string): Promise<ShadowDatabase> {
  const database = await server.open(trunk);
  if (database === null) throw new Error('there is no such trunk');
  onTestFinished(() => database[Symbol.asyncDispose]());
  return database;
}

let batches = 0n;

/** A later position each time, for a batch whose position holds already is not written. */
function nextPosition(): Position {
  batches += 1n;
  return { offsets: new Map([['p.any/0', batches]]), source: null, eventTimeMs: null };
}

export function batchOf(
  steps: readonly BatchStep[],
  position: Position = nextPosition(),
): ChangeBatch {
  return { steps, position, txIds: [], unmarked: 0, events: 0, transactions: 0, bytes: 0 };
}

export function rowsStep(stage: Stage, name: string, ...changes: readonly NetChange[]): BatchStep {
  return { kind: 'rows', table: { schema: stage.source, name }, changes };
}

/** An upsert; `key` names the key columns, `from` their former values if they changed. */
export function put(
  key: readonly string[],
  image: Readonly<Record<string, ColumnValue>>,
  options: { readonly from?: readonly KnownValue[]; readonly complete?: boolean } = {},
): NetChange {
  const keyValues = key.map((column) => image[column] as KnownValue);
  return {
    kind: 'upsert',
    key: keyValues,
    from: options.from ?? keyValues,
    complete: options.complete ?? true,
    image: { shape: new RowShape(Object.keys(image)), values: Object.values(image) },
  };
}

export function gone(...key: readonly KnownValue[]): NetChange {
  return { kind: 'delete', key };
}

/** A name for a rollout of the stage's trunk; what it is of goes with the test. */
export function rolloutName(stage: Stage): string {
  const name = freshName('rollout', stage.url);
  onTestFinished(() => stage.server.drop({ database: name, role: name }).catch(() => undefined));
  return name;
}

/** A new rollout of the stage's trunk; returns its name. */
export async function rolloutOf(stage: Stage, server = stage.server): Promise<string> {
  const to = rolloutName(stage);
  await server.clone({ from: stage.trunk, to, rolloutName: 'next' });
  return to;
}

/** Somebody who is not who applies. */
export async function stranger(
  stage: Stage,
  database: string,
  rights: string,
): Promise<Connection> {
  return sessionOn(await strangerUrl(stage, database, rights), database);
}

/** The address by which somebody comes who is not who applies; the account goes with the test. */
async function strangerUrl(stage: Stage, database: string, rights: string): Promise<string> {
  const name = `s_${database.slice(-8)}`;
  await stage.client.query(`CREATE USER '${name}'@'%' IDENTIFIED BY 'x'`);
  onTestFinished(async () => {
    await (await sessionOn(stage.url)).query(`DROP USER '${name}'@'%'`);
  });
  await stage.client.query(`GRANT ${rights} ON \`${database}\`.* TO '${name}'@'%'`);
  const url = new URL(stage.url);
  url.username = name;
  url.password = 'x';
  return url.href;
}

/** A rollout with its overlay, and who writes to it. */
export interface Overlaid {
  readonly name: string;
  readonly database: ShadowDatabase;
  readonly fence: Fence;
  readonly candidate: Connection;
  /** For more sessions of the candidate. */
  readonly candidateUrl: string;
  /** Sees everything; its default database is the rollout. */
  readonly admin: Connection;
  apply(...steps: readonly BatchStep[]): ReturnType<ShadowDatabase['apply']>;
}

export async function overlaidRollout(stage: Stage): Promise<Overlaid> {
  const name = await rolloutOf(stage);
  const database = await openTrunk(stage.server, name);
  const fence = await database.takeFence('test');
  if (fence === null) throw new Error('the fence of a new rollout is taken');
  await database.installOverlay(fence);
  const candidateUrl = await strangerUrl(stage, name, 'SELECT, INSERT, UPDATE, DELETE');
  const candidate = await sessionOn(candidateUrl, name);
  const admin = await sessionOn(stage.url, name);
  const apply = (...steps: readonly BatchStep[]) => database.apply(fence, batchOf(steps));
  return { name, database, fence, candidate, candidateUrl, admin, apply };
}

/** Production's image of a table with the key `id`, by the rows, the journal and what waits. */
export function imageOf(
  { admin, name }: Pick<Overlaid, 'admin' | 'name'>,
  table: string,
  columns: string,
) {
  const [journal, waiting] = ['journal', 'waiting'].map(
    (kind) => `\`${name}__understudy\`.\`${table}#${kind}\``,
  );
  const not = (where: string, alias: string): string =>
    `NOT EXISTS (SELECT 1 FROM ${where} o WHERE o.id = ${alias}.id)`;
  return rowsOf(
    admin,
    `SELECT ${columns} FROM ${table} t WHERE ${not(journal ?? '', 't')} AND ${not(waiting ?? '', 't')}
      UNION ALL SELECT ${columns} FROM ${journal ?? ''} j
        WHERE understudy_present = 1 AND ${not(waiting ?? '', 'j')}
      UNION ALL SELECT ${columns} FROM ${waiting ?? ''} WHERE understudy_present = 1 ORDER BY id`,
  );
}
