/**
 * `npm run bench:apply`: logs of real Debezium events applied by us and by a peer, from the same
 * topics into databases of one server, in turns.
 *
 * - `snapshot`: the events of a table's initial snapshot, JSON with schemas, against Debezium's JDBC
 *   sink; `snapshot-bare` (JSON without schemas) and `snapshot-avro`: the same rows, against the
 *   sink's time for JSON with schemas.
 * - `tpcb`: a backlog of TPC-B transactions with their metadata, kept whole, JSON without schemas,
 *   against PostgreSQL's own logical replication; `tpcb-schemas`: JSON with schemas.
 * - `changes`, `unique`: updates, inserts and deletes in transactions; of a table with a second
 *   unique key, whose values change too. Against the sink.
 * - `mysql`, `mariadb`: as `snapshot`, into these.
 * - `fresh`: the 99th percentile of the time from a record's being in Kafka to its row's being seen,
 *   at 500 changes a second.
 * - `memory`: the most memory the process has, with a transaction of all rows and some large ones.
 *
 * `BENCH_ROWS` sets the tables' rows (default 100000; two fifths as many changes; a twentieth as
 * many TPC-B transactions): with few, what is measured is how fast either side starts.
 */
import { env } from 'node:process';
import { accountsLog, binlogAccountsLog } from './apply/accounts-log.ts';
import { runApplyWorker, tpcbLogs } from './apply/apply-worker.ts';
import type { BenchLog } from './apply/bench-log.ts';
import type { Form } from './apply/forms.ts';
import { openFreshness } from './apply/freshness.ts';
import { runJdbcSink } from './apply/jdbc-sink.ts';
import { MEMORY_LIMIT_MIB, openMemory } from './apply/memory.ts';
import { runUnderstudy } from './apply/our-run.ts';
import { BenchServers } from './apply/servers.ts';
import { benchMain, type BenchCase, type BenchStage } from './frame.ts';
import { Once } from './once.ts';

const rows = Number(env['BENCH_ROWS'] ?? 100_000);
if (!Number.isInteger(rows) || rows < 1000 || rows % 1000 !== 0) {
  throw new RangeError('BENCH_ROWS: expected a multiple of 1000');
}

await using servers = new BenchServers();

/** Logs that several cases use are made once. */
const logs = new Once();

let runs = 0;
/** Each run has a database, and the sink a consumer group, that no run had before. */
const nextName = (side: string): string => `${side}_${String((runs += 1))}`;

const nothingToClose = (): Promise<void> => Promise.resolve();

function againstSink(ours: () => Promise<BenchLog>, theirs = ours): () => Promise<BenchStage> {
  return async () => {
    const [log, sinkLog] = [await ours(), await theirs()];
    const connect = await servers.connect();
    return {
      ours: () => runUnderstudy(log, nextName('ours')),
      theirs: () => runJdbcSink(connect, sinkLog, nextName('sink')),
      [Symbol.asyncDispose]: nothingToClose,
    };
  };
}

const snapshot = (form: Form): Promise<BenchLog> =>
  logs.get(`snapshot ${form}`, () => accountsLog(servers, form, { rows, changes: 0 }));

const changes = (unique: boolean): Promise<BenchLog> =>
  logs.get(`changes ${unique}`, () =>
    accountsLog(servers, 'json', { rows, changes: (rows * 2) / 5, unique }),
  );

function againstApplyWorker(form: Form): () => Promise<BenchStage> {
  return async () => {
    const content = { rows, transactions: rows / 20 };
    const forms = await logs.get('tpcb', () => tpcbLogs(servers, ['bare', 'json'], content));
    const log = forms.get(form);
    if (log === undefined) throw new Error(`no log of this form: ${form}`);
    return {
      ours: () => runUnderstudy(log, nextName('ours')),
      theirs: () => runApplyWorker(log, nextName('worker')),
      [Symbol.asyncDispose]: nothingToClose,
    };
  };
}

const sink = { against: 'Debezium JDBC sink', unit: 'rows/s', better: 'higher' } as const;
const worker = { against: 'logical replication', unit: 'changes/s', better: 'higher' } as const;

const cases: readonly BenchCase[] = [
  { name: 'snapshot', ...sink, goal: 4, open: againstSink(() => snapshot('json')) },
  {
    ...{ name: 'snapshot-bare', ...sink, goal: 6 },
    open: againstSink(
      () => snapshot('bare'),
      () => snapshot('json'),
    ),
  },
  {
    ...{ name: 'snapshot-avro', ...sink, goal: 6 },
    open: againstSink(
      () => snapshot('avro'),
      () => snapshot('json'),
    ),
  },
  { name: 'tpcb', ...worker, goal: 1.5, open: againstApplyWorker('bare') },
  { name: 'tpcb-schemas', ...worker, goal: null, open: againstApplyWorker('json') },
  { name: 'changes', ...sink, goal: null, open: againstSink(() => changes(false)) },
  { name: 'unique', ...sink, goal: null, open: againstSink(() => changes(true)) },
  ...(['mysql', 'mariadb'] as const).map((engine): BenchCase => ({
    ...{ name: engine, ...sink, goal: null },
    open: againstSink(() => logs.get(engine, () => binlogAccountsLog(servers, engine, rows))),
  })),
  {
    ...{ name: 'fresh', against: 'limit 100 ms', unit: 'ms', better: 'lower', goal: 1 },
    open: async () => {
      const freshness = await openFreshness(servers);
      return {
        ours: () => freshness.run(nextName('fresh')),
        theirs: 100,
        [Symbol.asyncDispose]: () => freshness[Symbol.asyncDispose](),
      };
    },
  },
  {
    ...{ name: 'memory', against: `limit ${MEMORY_LIMIT_MIB} MiB`, unit: 'MiB' },
    ...{ better: 'lower', goal: 1 },
    open: async () => {
      const memory = await openMemory(servers, rows);
      return {
        ours: () => memory.run(nextName('memory')),
        theirs: MEMORY_LIMIT_MIB,
        [Symbol.asyncDispose]: nothingToClose,
      };
    },
  },
];

process.exitCode = await benchMain(
  { name: 'apply', cases, runs: Number(env['BENCH_RUNS'] ?? 5), warmups: 1 },
  process.argv.slice(2),
);
