/** The ledger says where production's log stood when the candidate first wrote a row, and when that ended. */
import { expect, it } from 'vitest';
import { setTimeout as pause } from 'node:timers/promises';
import type { BatchStep } from '../../src/order/change-batch.ts';
import type { SourcePosition } from '../../src/change/position.ts';
import { batchOf, put } from './mysql.fixture.ts';
import { ALL_ENGINES, anyRollout } from './rollout.fixture.ts';

it.each(ALL_ENGINES)('both places are told, on %s', async (engine) => {
  const at = await anyRollout(engine, 'CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9))');
  let offset = 0n;
  const apply = async (place: number, step: BatchStep): Promise<void> => {
    offset += 1n;
    const source: SourcePosition =
      engine === 'postgresql'
        ? { connector: engine, lsn: BigInt(place), lastCommitLsn: null, txId: null }
        : { connector: engine, file: 'log.000001', pos: BigInt(place), row: 0, gtid: null };
    const position = { offsets: new Map([['p.t/0', offset]]), source, eventTimeMs: null };
    await at.database.apply(at.fence, { ...batchOf([step]), position });
  };
  const row = (id: string, v: string): BatchStep => at.step('t', put(['id'], { id, v }));
  await at.run(`INSERT INTO t VALUES (9, 'early')`);
  await apply(100, row('1', 'a'));
  await pause(20);
  await at.run(`UPDATE t SET v = 'mine' WHERE id = 1`);
  // Noted no sooner than some seconds after the one before.
  await apply(200, row('2', 'b'));
  await pause(20);
  await at.run(`UPDATE t SET v = 'mine' WHERE id = 2`);
  await pause(5_000);
  await apply(300, row('3', 'c'));
  await pause(20);
  await at.run(`UPDATE t SET v = 'mine' WHERE id = 3`);
  const placeOf = (source: unknown): number | null => {
    if (source === null || source === undefined) return null;
    const stored = (typeof source === 'string' ? JSON.parse(source) : source) as Record<
      string,
      string
    >;
    return Number(stored['lsn'] ?? stored['pos']);
  };
  await apply(350, row('4', 'd'));
  // A conflict tells of both, too.
  await apply(400, row('3', 'theirs'));
  const [conflict, ...others] = await at.database.overlayConflicts(9, {});
  expect([conflict?.key, placeOf(conflict?.firstSource), placeOf(conflict?.source)]).toEqual([
    ...[['3'], 300, 400],
  ]);
  expect(others).toEqual([]);
  expect(await at.database.resetOverlay(at.fence, {})).toBe(4);
  const table =
    engine === 'postgresql' ? 'understudy.outcome' : `\`${at.name}__understudy\`.outcome`;
  const key = engine === 'postgresql' ? 'key[1]' : `JSON_UNQUOTE(JSON_EXTRACT(row_key, '$[0]'))`;
  const lines = await at.rows(
    `SELECT ${key}, first_source, decided_source FROM ${table} ORDER BY 1`,
  );
  expect(lines.map(([id, first, decided]) => [id, placeOf(first), placeOf(decided)])).toEqual([
    ['1', 100, 400],
    ['2', 100, 400],
    ['3', 300, 400],
    ['9', null, 400],
  ]);
  // What is still needed is kept.
  await at.database.forgetOutcomes(at.fence, 0);
  await at.run(`UPDATE t SET v = 'mine' WHERE id = 4`);
  await at.database.resetOverlay(at.fence, {});
  const [again] = await at.rows(`SELECT first_source FROM ${table}`);
  expect(placeOf(again?.[0])).toBe(300);
});
