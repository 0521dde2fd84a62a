import { get } from 'node:http';
import type { Kafka } from 'kafkajs';
import { inject } from 'vitest';
import { connectRest, type ConnectRest } from './connect-rest.ts';
import type { Aside } from './kafka.ts';
import { testKafka } from './kafka-client.ts';

/** The addresses of the parts which the end-to-end tests of one run share. */
export interface SharedAddresses {
  readonly kafka: {
    readonly broker: string;
    readonly pid: number;
    /** See `Aside`. One test uses it. */
    readonly aside: Aside | null;
  };
  readonly connect: { readonly url: string; readonly offsetsTopic: string; readonly pid: number };
  readonly registry: { readonly url: string; readonly port: number };
  readonly mysql: SharedMySql;
  readonly mariadb: SharedMySql;
}

/** The account may do everything. */
export interface SharedMySql {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly url: string;
  readonly version: string;
}

export type SharedPart = keyof SharedAddresses;

function ask(url: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    // Not fetch: it gives up after 300 s, while a first start may download for longer.
    get(url, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => (body += text));
      response.once('end', () => resolve({ status: response.statusCode ?? 0, body }));
      response.once('error', reject);
    }).once('error', reject);
  });
}

async function shared<P extends SharedPart>(part: P): Promise<SharedAddresses[P]> {
  const { status, body } = await ask(`${inject('sharedStackUrl')}/${part}`);
  if (status !== 200) throw new Error(`the shared ${part} could not be started: ${body}`);
  return JSON.parse(body) as SharedAddresses[P];
}

/**
 * The run's Kafka, started when it is first asked for. Others use it too: use topics with a
 * prefix of your own, and do not stop, pause or restart it (`startKafka` gives you your own).
 */
export async function sharedKafka(): Promise<SharedAddresses['kafka'] & { client(): Kafka }> {
  const kafka = await shared('kafka');
  const { broker } = kafka;
  return { ...kafka, client: () => testKafka(broker) };
}

/** The run's Connect worker on the shared Kafka; delete your connectors when you are done. */
export async function sharedConnect(): Promise<ConnectRest & SharedAddresses['connect']> {
  const address = await shared('connect');
  return { ...connectRest(address.url), ...address };
}

/** The run's schema registry; its `url` is what Confluent's clients are given. */
export function sharedRegistry(): Promise<SharedAddresses['registry']> {
  return shared('registry');
}

/** The run's MySQL: make a database of your own in it. */
export function sharedMySQL(): Promise<SharedMySql> {
  return shared('mysql');
}

/** The run's MariaDB: make a database of your own in it. */
export function sharedMariaDB(): Promise<SharedMySql> {
  return shared('mariadb');
}
