/**
 * `npm run bench:overlay`: what capture costs whoever writes to a rollout, and whoever follows it. Two
 * rollouts of one trunk on one server take turns, one with capture and one without.
 *
 * - `ENGINE-single`: transactions of one row each by 8 clients, safe on the disk; `ENGINE-single-later`:
 *   safe some time after. Of 200,000 rows, any: most are written for the first time.
 * - `ENGINE-update`, `-insert`, `-delete`: processor time of the server for 20,000 rows in one statement.
 * - `ENGINE-read`: lookups by key by 8 clients.
 * - `ENGINE-apply-0`, `-1`, `-10`: an applier's batches of 20,000 updates, of which the candidate owns so
 *   many per cent; against a database that is followed and not written to.
 */
import { RowShape } from '../../src/change/value.ts';
import type { ChangeBatch, NetChange } from '../../src/order/change-batch.ts';
import { benchMain, type BenchCase, type BenchStage } from './frame.ts';
import { Once } from './once.ts';
import { cpuMs } from './overlay/cpu.ts';
import {
  openRollouts,
  ROWS,
  type Commits,
  type Engine,
  type Rollout,
  type Rollouts,
} from './overlay/rollouts.ts';

const CLIENTS = 8;
const SLICE_MS = 3_000;
const BULK = 20_000;

await using servers = new AsyncDisposableStack();
const known = new Once();

const rollouts = (engine: Engine, commits: Commits): Promise<Rollouts> =>
  known.get(`${engine} ${commits}`, async () => servers.use(await openRollouts(engine, commits)));

const anyId = (): number => 1 + Math.floor(Math.random() * ROWS);
const marks = (engine: Engine): string => (engine === 'postgresql' ? '$1' : '?');

/** Statements a second, of all clients. */
async function perSecond({ open }: Rollout, sql: string): Promise<number> {
  let count = 0;
  const started = performance.now();
  const clients = await Promise.all(Array.from({ length: CLIENTS }, open));
  await Promise.all(
    clients.map(async (client) => {
      while (performance.now() - started < SLICE_MS) {
        await client.call(sql, [anyId()]);
        count += 1;
      }
    }),
  );
  const seconds = (performance.now() - started) / 1_000;
  for (const client of clients) await client[Symbol.asyncDispose]();
  return count / seconds;
}

function inTurns(
  open: () => Promise<Rollouts>,
  measure: (at: Rollout, all: Rollouts) => Promise<number>,
): () => Promise<BenchStage> {
  return async () => {
    const all = await open();
    return {
      ours: () => measure(all.captured, all),
      theirs: () => measure(all.bare, all),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  };
}

const BULKS = {
  update: `UPDATE account SET n = n + 1 WHERE id <= ${String(BULK)}`,
  insert: `INSERT INTO account SELECT id + 1000000, owner, n, balance, note, at FROM account
    WHERE id <= ${String(BULK)}`,
  delete: `DELETE FROM account WHERE id <= ${String(BULK)}`,
};

/** Of rows that nobody wrote before: it is taken back when it was measured. */
async function bulkMs({ open, withDoor }: Rollout, { engine, pid }: Rollouts, sql: string) {
  await using client = await open();
  await client.call(engine === 'postgresql' ? 'BEGIN' : 'START TRANSACTION', []);
  const before = await cpuMs(pid);
  await client.call(sql, []);
  const took = (await cpuMs(pid)) - before;
  await client.call('ROLLBACK', []);
  if (engine === 'postgresql') await withDoor((door) => door.query('VACUUM'));
  return took;
}

const SHAPE = new RowShape(['id', 'owner', 'n', 'balance', 'note', 'at']);
let batches = 0n;

/** Rows a second of one batch. */
async function applied({ database, fence }: Rollout, { source }: Rollouts): Promise<number> {
  batches += 1n;
  const changes = Array.from({ length: BULK }, (_, i): NetChange => {
    const id = String(i + 1);
    const note = `note ${String((i + 1) * 7)}`;
    const values = [id, `owner of ${id}`, String(batches), '1.00', note, '2026-01-01 00:00:00'];
    return {
      kind: 'upsert',
      key: [id],
      from: [id],
      complete: true,
      image: { shape: SHAPE, values },
    };
  });
  const batch: ChangeBatch = {
    steps: [{ kind: 'rows', table: { schema: source, name: 'account' }, changes }],
    position: { offsets: new Map([['p.any/0', batches]]), source: null, eventTimeMs: null },
    ...{ txIds: [], unmarked: 0, events: BULK, transactions: 1, bytes: 0 },
  };
  const started = performance.now();
  await database.apply(fence, batch);
  return BULK / ((performance.now() - started) / 1_000);
}

function casesOf(engine: Engine): readonly BenchCase[] {
  const [single, bulk] = engine === 'postgresql' ? [0.9, 4] : [0.8, 3.5];
  const write = `UPDATE account SET n = n + 1 WHERE id = ${marks(engine)}`;
  const read = `SELECT * FROM account WHERE id = ${marks(engine)}`;
  const durable = (): Promise<Rollouts> => rollouts(engine, 'durable');
  const later = (): Promise<Rollouts> => rollouts(engine, 'later');
  const against = 'without capture';
  const speed = { against, unit: '1/s', better: 'higher' } as const;
  const cost = { against, unit: 'CPU ms', better: 'lower' } as const;
  // Writing single rows comes last: the others want rows that nobody owns.
  return [
    ...(['update', 'insert', 'delete'] as const).map((kind): BenchCase => ({
      ...{ name: `${engine}-${kind}`, ...cost, goal: kind === 'update' ? bulk : null },
      open: inTurns(durable, (at, all) => bulkMs(at, all, BULKS[kind])),
    })),
    ...[0, 1, 10].map((percent): BenchCase => ({
      ...{ name: `${engine}-apply-${String(percent)}`, ...speed, against: 'a blind apply' },
      ...{ goal: null, unit: 'rows/s' },
      open: async () => {
        const all = await later();
        await using client = await all.captured.open();
        const every = `id <= ${String(BULK)} AND id % ${String(100 / Math.max(percent, 1))} = 0`;
        if (percent > 0) await client.call(`UPDATE account SET owner = 'mine' WHERE ${every}`, []);
        return await inTurns(later, applied)();
      },
    })),
    {
      ...{ name: `${engine}-read`, ...speed, goal: 1 },
      open: inTurns(durable, (at) => perSecond(at, read)),
    },
    {
      ...{ name: `${engine}-single`, ...speed, goal: single },
      open: inTurns(durable, (at) => perSecond(at, write)),
    },
    {
      ...{ name: `${engine}-single-later`, ...speed, goal: null },
      open: inTurns(later, (at) => perSecond(at, write)),
    },
  ];
}

const cases = (['postgresql', 'mysql', 'mariadb'] as const).flatMap(casesOf);

process.exitCode = await benchMain(
  { name: 'overlay', cases, runs: Number(process.env['BENCH_RUNS'] ?? 7), warmups: 1 },
  process.argv.slice(2),
);
