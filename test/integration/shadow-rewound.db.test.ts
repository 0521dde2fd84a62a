/**
 * A server that comes back without commits it had acknowledged (a fail-over, or a crash under
 * asynchronous commit): here its rows are put back by hand, as they would stand there. Nothing may
 * be written on top, for the changes in between would be lost without a word.
 */
import { expect, onTestFinished, test } from 'vitest';
import type { OffsetRange } from '../../src/change/offset-ranges.ts';
import type { Fence, HolderNote, ShadowDatabase } from '../../src/dialect/dialect.ts';
import { PgShadowDatabase } from '../../src/dialect/postgres/shadow/database.ts';
import { ServerAddress } from '../../src/dialect/postgres/session/session.ts';
import type { ChangeBatch } from '../../src/order/change-batch.ts';
import { stageOf } from './mysql.fixture.ts';
import { freshTrunk, session } from './shadow.fixture.ts';

const NOTE: HolderNote = { state: 'following', oldestTransactionMs: null, degraded: 0 };

interface Rewindable {
  readonly database: ShadowDatabase;
  readonly fence: Fence;
  /** Carries out a statement; `place` names a table of ours. */
  run(sql: (place: (table: string) => string) => string): Promise<unknown>;
}

async function onPostgres(): Promise<Rewindable> {
  const trunk = await freshTrunk();
  const marker = { id: '', kind: 'trunk', name: trunk.name, topicPrefix: 'prod' } as const;
  const database = new PgShadowDatabase({
    ...{ address: new ServerAddress(trunk.url), name: trunk.name, leaseMs: 60_000 },
    marker: { ...marker, schemaVersion: 3 },
  });
  onTestFinished(() => database[Symbol.asyncDispose]());
  const fence = await database.takeFence('test');
  if (fence === null) throw new Error('the fence of a new trunk is taken');
  const client = await session(trunk.url);
  return { database, fence, run: (sql) => client.query(sql((table) => `understudy.${table}`)) };
}

async function onBinlogServer(engine: 'mysql' | 'mariadb'): Promise<Rewindable> {
  const stage = await stageOf(engine, 'CREATE TABLE item (id INT PRIMARY KEY)');
  const place = (table: string): string => `\`${stage.trunk}__understudy\`.\`${table}\``;
  return { ...stage, run: (sql) => stage.rows(sql(place)) };
}

const offsets = (next: bigint, other: bigint): ReadonlyMap<string, bigint> =>
  new Map([
    ['prod.shop.item/0', next],
    ['prod.shop.item/1', other],
  ]);

function batch(
  from: ReadonlyMap<string, bigint>,
  to: ReadonlyMap<string, bigint>,
  more: { readonly ahead?: readonly OffsetRange[]; readonly after?: OffsetRange | null } = {},
): ChangeBatch {
  return {
    ...{ steps: [], txIds: [], unmarked: 0, events: 0, transactions: 0, bytes: 0 },
    position: { offsets: to, source: null, eventTimeMs: null },
    after: { offsets: from, ahead: more.after ?? null },
    ...(more.ahead !== undefined && { ahead: more.ahead }),
  };
}

const SERVERS = [
  ['postgresql', onPostgres],
  ['mysql', () => onBinlogServer('mysql')],
  ['mariadb', () => onBinlogServer('mariadb')],
] as const;

test.each(SERVERS)('%s takes nothing on top of commits that it lost', async (_engine, open) => {
  const { database, fence, run } = await open();
  const [start, one, two, three] = [new Map(), offsets(5n, 5n), offsets(9n, 5n), offsets(9n, 7n)];
  await database.apply(fence, batch(start, one));
  await database.apply(fence, batch(one, two));
  await run((place) => `UPDATE ${place('position')} SET next_offset = 5`);
  const next = batch(two, three);
  await expect(database.apply(fence, next)).rejects.toMatchObject({ code: 'SHADOW_REWOUND' });
  expect((await database.progress()).position.offsets).toEqual(one);
  // Whoever goes on from what it holds, may; and an answer that was lost is no commit that was.
  await database.apply(fence, batch(one, two));
  await database.apply(fence, next);
  await database.apply(fence, next);
  // All of it, as a stand-by that never got anything.
  await run((place) => `DELETE FROM ${place('position')}`);
  const last = batch(three, offsets(12n, 7n));
  await expect(database.apply(fence, last)).rejects.toMatchObject({ code: 'SHADOW_REWOUND' });
});

test.each(SERVERS)('%s misses what it took ahead of the position', async (_engine, open) => {
  const { database, fence, run } = await open();
  const one = offsets(5n, 5n);
  const range = (first: bigint): OffsetRange => ({
    ...{ topic: 'prod.shop.item', partition: 0, first, next: first + 1n },
  });
  await database.apply(fence, batch(new Map(), one));
  await database.apply(fence, batch(one, one, { ahead: [range(7n)] }));
  const second = batch(one, one, { ahead: [range(9n)], after: range(7n) });
  await database.apply(fence, second);
  await run((place) => `DELETE FROM ${place('ahead')} WHERE first_offset = 9`);
  const third = batch(one, offsets(20n, 5n), { after: range(9n) });
  await expect(database.apply(fence, third)).rejects.toMatchObject({ code: 'SHADOW_REWOUND' });
  await database.apply(fence, second);
  await database.apply(fence, third);
  // Once the position has passed it, nobody needs to know.
  await database.apply(fence, batch(offsets(20n, 5n), offsets(21n, 5n), { after: range(9n) }));
});

test.each(SERVERS)('%s tells a lost take-over from another holder', async (_engine, open) => {
  const { database, fence, run } = await open();
  const one = batch(new Map(), offsets(5n, 5n));
  await run((place) => `UPDATE ${place('fence')} SET generation = 0, holder = 'before'`);
  await run((place) => `UPDATE ${place('sign_of_life')} SET generation = 0`);
  const lost = { code: 'SHADOW_REWOUND' };
  await expect(database.apply(fence, one)).rejects.toMatchObject(lost);
  await expect(database.renewFence(fence, NOTE)).rejects.toMatchObject(lost);
  // Somebody else took the generation that we had.
  await run((place) => `UPDATE ${place('fence')} SET generation = 1, holder = 'twin'`);
  await run((place) => `UPDATE ${place('sign_of_life')} SET generation = 1`);
  const fenced = { code: 'FENCED' };
  await expect(database.apply(fence, one)).rejects.toMatchObject(fenced);
  await expect(database.renewFence(fence, NOTE)).rejects.toMatchObject(fenced);
  await database.releaseFence(fence);
  expect(await database.fenceState()).toMatchObject({ holder: 'twin', generation: 1n });
});
