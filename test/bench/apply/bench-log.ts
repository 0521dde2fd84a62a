/** A log of real events, and what both sides of a case make of it. */
import { pollUntil } from '../../../src/util/wait.ts';
import { onDatabase, type Door } from './door.ts';

/** What is in the tables; equal digests mean equal rows. */
export type Digest = string;

export interface BenchLog {
  readonly connector: 'postgresql' | 'mysql' | 'mariadb';
  readonly topicPrefix: string;
  readonly broker: string;
  /** What our configuration says of the form of its records. */
  readonly form: object;
  /** Change events in it. */
  readonly events: number;
  /** What applying all of them leads to. */
  readonly goal: Digest;
  /** Of production, and of the server of both sides' databases, for an account that may do all. */
  readonly productionUrl: string;
  readonly shadowUrl: string;
  readonly tables: BenchTables;
}

/** The tables of a log, in any database. */
export interface BenchTables {
  create(door: Door): Promise<void>;
  /** The rows that are there before the log's first event. */
  fill(door: Door): Promise<void>;
  digest(door: Door): Promise<Digest>;
  /** Whether the log's last event is applied; cheap. */
  isLastThere(door: Door): Promise<boolean>;
}

/** Seconds from `began` (of `performance.now()`) until the last event is applied in the database. */
export async function secondsToLast(
  who: string,
  log: BenchLog,
  door: Door,
  began: number,
): Promise<number> {
  await pollUntil({
    probe: async () => ((await log.tables.isLastThere(door)) ? true : undefined),
    everyMs: 10,
    timeoutMs: 600_000,
    timeout: () => new Error(`${who} does not get to the end of the log`),
  });
  return (performance.now() - began) / 1_000;
}

/** A side that has not produced production's rows has not been measured. */
export async function assertReached(who: string, url: string, log: BenchLog): Promise<void> {
  const digest = await onDatabase(url, (door) => log.tables.digest(door));
  if (digest !== log.goal) throw new Error(`${who} left ${digest}, other than ${log.goal}`);
}
