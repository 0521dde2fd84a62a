/**
 * `npm run stack -- up [--all] | status | down`: the real parts, started by hand and kept running.
 * `up` starts Kafka, Connect (Debezium's connectors and its JDBC sink), a schema registry, a
 * PostgreSQL as production and one as shadow server; with `--all` MySQL and MariaDB too.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pollUntil } from '../../src/util/wait.ts';
import { startConnect } from './connect.ts';
import { postgresConnector } from './connectors.ts';
import { startKafka } from './kafka.ts';
import { startMariaDB } from './mariadb.ts';
import { startMySQL } from './mysql.ts';
import { createDatabase, startPostgres } from './postgres.ts';
import type { ServerProcess } from './process/server-process.ts';
import { startRegistry } from './registry.ts';
import { isAlive, readState, STACK_FOLDER, writeState, type StackPart } from './stack-state.ts';

function table(parts: readonly StackPart[]): string {
  const rows = parts.map((part) => [
    part.name,
    isAlive(part) ? 'running' : 'gone',
    String(part.pid),
    part.address,
    `${String(part.startMs)} ms`,
  ]);
  const all = [['part', 'state', 'pid', 'address', 'started in'], ...rows];
  const width = (column: number): number =>
    Math.max(...all.map((row) => (row[column] ?? '').length));
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(width(column)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

async function end(parts: readonly StackPart[]): Promise<void> {
  // The last started first, so that Connect can say goodbye to Kafka.
  for (const part of [...parts].reverse()) {
    if (!isAlive(part)) continue;
    process.kill(part.pid, part.name.startsWith('PostgreSQL') ? 'SIGINT' : 'SIGTERM');
    await pollUntil({
      probe: () => Promise.resolve(isAlive(part) ? undefined : true),
      everyMs: 100,
      timeoutMs: 20_000,
      timeout: () => new Error(`${part.name} (pid ${String(part.pid)}) does not stop`),
    }).catch((error: unknown) => {
      console.error(error);
      process.kill(part.pid, 'SIGKILL');
    });
  }
  await rm(STACK_FOLDER, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}

interface Addresses {
  readonly broker: string;
  readonly connect: string;
  readonly registry: string;
  readonly production: string;
  readonly shadow: string;
  readonly connectorFile: string;
}

function notes(at: Addresses): string {
  return `understudy.yaml:

source:
  connector: postgresql
  topicPrefix: prod
  kafka: { brokers: ["${at.broker}"] }
  connect: { url: "${at.connect}", name: prod }
production: { url: "${at.production}" }
shadow: { url: "${at.shadow}" }
trunk: { name: shop, schema: production }

Create tables in production's database "shop", then start the connector:
curl -f -X POST -H 'content-type: application/json' --data @${at.connectorFile} ${at.connect}/connectors`;
}

async function up(all: boolean): Promise<void> {
  const before = readState();
  if (before?.parts.some(isAlive) === true) {
    console.log(`already up\n\n${table(before.parts)}\n\n${before.notes}`);
    return;
  }
  await rm(STACK_FOLDER, { recursive: true, force: true });
  await mkdir(STACK_FOLDER, { recursive: true });
  const parts: StackPart[] = [];
  const add = (
    name: string,
    server: { readonly process: ServerProcess },
    address: string,
    mark: string,
  ): void => {
    const { pid, logFile, startMs } = server.process;
    parts.push({ name, pid, mark, address, logFile, startMs });
    console.log(`${name} is up: ${address}`);
  };
  const at = (name: string): string => join(STACK_FOLDER, name);
  try {
    const kafka = await startKafka({ dataDir: at('kafka'), detached: true });
    add('Kafka', kafka, kafka.broker, at('kafka'));
    await mkdir(at('connect'));
    const connect = await startConnect(kafka, { folder: at('connect'), detached: true });
    add('Kafka Connect', connect, connect.url, at('connect'));
    await mkdir(at('registry'));
    const registry = await startRegistry({ folder: at('registry'), detached: true });
    add('schema registry', registry, registry.url, `quarkus.http.port=${String(registry.port)}`);
    const production = await startPostgres({ dataDir: at('production'), detached: true });
    const shop = await createDatabase(production.url, 'shop');
    add('PostgreSQL "production"', production, shop, at('production'));
    const shadow = await startPostgres({ dataDir: at('shadow'), detached: true });
    add('PostgreSQL "shadow"', shadow, shadow.url, at('shadow'));
    if (all) {
      const mysql = await startMySQL({ dataDir: at('mysql'), detached: true });
      add(`MySQL ${mysql.version}`, mysql, mysql.url, at('mysql'));
      const mariadb = await startMariaDB({ dataDir: at('mariadb'), detached: true });
      add(`MariaDB ${mariadb.version}`, mariadb, mariadb.url, at('mariadb'));
    }
    const connectorFile = at('prod.connector.json');
    const config = await postgresConnector(shop, 'prod');
    await writeFile(connectorFile, JSON.stringify({ name: 'prod', config }, undefined, 2));
    const text = notes({
      broker: kafka.broker,
      connect: connect.url,
      registry: registry.url,
      production: shop,
      shadow: shadow.url,
      connectorFile,
    });
    writeState({ parts, notes: text });
    console.log(`\n${table(parts)}\n\n${text}`);
  } catch (error) {
    await end(parts);
    throw error;
  }
}

function status(): void {
  const state = readState();
  if (state === undefined) {
    console.log('the stack is down');
    return;
  }
  console.log(`${table(state.parts)}\n\n${state.notes}`);
}

async function down(): Promise<void> {
  const state = readState();
  if (state === undefined) {
    console.log('the stack is down');
    return;
  }
  await end(state.parts);
  console.log(`stopped: ${state.parts.map(({ name }) => name).join(', ')}`);
}

const [verb, ...flags] = process.argv.slice(2);
const wrong = flags.find((flag) => flag !== '--all');
if (wrong !== undefined || (flags.length > 0 && verb !== 'up')) {
  console.error(`unknown argument ${wrong ?? flags.join(' ')}`);
  process.exit(3);
}
switch (verb) {
  case 'up':
    await up(flags.includes('--all'));
    break;
  case 'status':
    status();
    break;
  case 'down':
    await down();
    break;
  default:
    console.error('usage: npm run stack -- up [--all] | status | down');
    process.exit(3);
}
