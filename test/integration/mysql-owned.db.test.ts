/**
 * What comes from production where a candidate writes too, on MySQL and MariaDB: rows that it owns stay as
 * they are and their images follow, all others follow, and what is production's again is nobody's.
 */
import type { Connection } from 'mysql2/promise';
import { describe, expect, it } from 'vitest';
import type { NetChange } from '../../src/order/change-batch.ts';
import { Random } from '../support/random.ts';
import { baseSeed } from '../support/seeds.ts';
import {
  batchOf,
  ENGINES,
  gone,
  overlaidRollout,
  put,
  rowsOf,
  rowsStep,
  stageOf,
  type Engine,
  type Overlaid,
  type Stage,
} from './mysql.fixture.ts';

const TABLE = `CREATE TABLE seat (
  id INT NOT NULL,
  k VARCHAR(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL,
  v VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
  n INT UNIQUE,
  PRIMARY KEY (id, k))`;

interface SeatRow {
  readonly id: number;
  readonly k: string;
  readonly v: string | null;
  readonly n: number | null;
}

interface Scene extends Overlaid {
  readonly stage: Stage;
}

async function scene(engine: Engine): Promise<Scene> {
  const stage = await stageOf(engine, TABLE);
  return { ...(await overlaidRollout(stage)), stage };
}

type Rows = Map<string, SeatRow>;

const keyOf = ({ id, k }: Pick<SeatRow, 'id' | 'k'>): string => `${String(id)}/${k.toLowerCase()}`;

async function read(client: Connection, from: string): Promise<Rows> {
  const rows = (await rowsOf(client, `SELECT id, k, v, n FROM ${from}`)) as unknown as SeatRow[];
  return new Map(rows.map((row) => [keyOf(row), row]));
}

const sorted = (rows: Rows): readonly unknown[] =>
  [...rows].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row);

const changeOf = (row: SeatRow, isWhole = true): NetChange => {
  const { id, k, v, n } = row;
  const image = { id: String(id), k, n: n === null ? null : String(n) };
  return put(['id', 'k'], isWhole ? { ...image, v } : image, { complete: isWhole });
};

const journal = ({ name }: Scene): string => `\`${name}__understudy\`.\`seat#journal\``;

/** Base images and entries, as they must be by the model. */
async function expectModel(at: Scene, visible: Rows, production: Rows, owned: Set<string>) {
  expect(sorted(await read(at.admin, 'seat'))).toEqual(sorted(visible));
  const entries = await read(at.admin, journal(at));
  expect([...entries.keys()].toSorted()).toEqual([...owned].toSorted());
  const images = await read(at.admin, `${journal(at)} WHERE understudy_present = 1`);
  const base = new Map([...visible].filter(([key]) => !owned.has(key)));
  for (const [key, row] of images) base.set(key, row);
  expect(sorted(base)).toEqual(sorted(production));
}

describe.each(ENGINES)('beside a candidate on %s', (engine) => {
  it('rows follow or stay, by who owns them, through random histories', async () => {
    const seed = baseSeed(process.env['UNDERSTUDY_SEED']);
    const random = new Random(seed);
    const at = await scene(engine);
    const production: Rows = new Map();
    let visible: Rows = new Map();
    const owned = new Set<string>();
    const someRow = (who: string, number: number): SeatRow => ({
      id: random.integer(1, 4),
      k: random.pick(['a', 'A', 'b', 'B']),
      v: random.pick([null, `of ${who}`, 'of both', 'Of Both']),
      n: random.chance(0.7) ? null : number,
    });
    for (let turn = 0; turn < 120; turn += 1) {
      if (random.chance(0.5)) {
        const row = someRow('candidate', 1_000 + turn);
        const where = `id = ${String(row.id)} AND k = '${row.k}'`;
        const v = row.v === null ? 'NULL' : `'${row.v}'`;
        await at.candidate
          .query(
            random.pick([
              `REPLACE INTO seat VALUES (${String(row.id)}, '${row.k}', ${v}, ${String(row.n)})`,
              `UPDATE seat SET v = ${v} WHERE ${where}`,
              `UPDATE seat SET id = id + 1 WHERE ${where}`,
              `DELETE FROM seat WHERE ${where}`,
              `INSERT IGNORE INTO seat VALUES (${String(row.id)}, '${row.k}', ${v}, NULL)`,
            ]),
          )
          .catch((error: { readonly errno: number }) => {
            if (error.errno !== 1062) throw error;
          });
        const now = await read(at.admin, 'seat');
        for (const key of new Set([...visible.keys(), ...now.keys()])) {
          const same = JSON.stringify(visible.get(key)) === JSON.stringify(now.get(key));
          if (!same) owned.add(key);
        }
        // Of a row that was removed and made again as it was there is an entry too.
        for (const key of (await read(at.admin, journal(at))).keys()) owned.add(key);
        visible = now;
      } else {
        const changes = new Map<string, NetChange>();
        const before = new Map(production);
        if (random.chance(0.05)) {
          await at.database.apply(
            at.fence,
            batchOf([{ kind: 'truncate', table: { schema: at.stage.source, name: 'seat' } }]),
          );
          for (const key of [...production.keys(), ...owned]) changes.set(key, gone());
          production.clear();
        } else {
          for (let n = random.integer(1, 4); n > 0; n -= 1) {
            const row = someRow('production', turn * 10 + n);
            const key = keyOf(row);
            if (changes.has(key)) continue;
            const last = production.get(key);
            const kind = random.pick([
              'gone',
              'gone',
              'partial',
              'partial',
              'whole',
              'whole',
              'whole',
            ]);
            if (kind === 'gone') {
              changes.set(key, gone(String(row.id), row.k));
              production.delete(key);
            } else if (last !== undefined && kind === 'partial') {
              const partial = { ...row, v: last.v };
              changes.set(key, changeOf(partial, false));
              production.set(key, partial);
            } else {
              changes.set(key, changeOf(row));
              production.set(key, row);
            }
          }
          const step = rowsStep(at.stage, 'seat', ...changes.values());
          await at.database.apply(at.fence, batchOf([step]));
        }
        for (const key of changes.keys()) {
          const row = production.get(key);
          const isAlike = (one: SeatRow | undefined): boolean =>
            JSON.stringify(visible.get(key)) === JSON.stringify(one);
          // Of what was written and changed back nothing is left.
          if (isAlike(before.get(key))) owned.delete(key);
          if (!owned.has(key)) {
            if (row === undefined) visible.delete(key);
            else visible.set(key, row);
          } else if (isAlike(row)) owned.delete(key);
        }
      }
      await expectModel(at, visible, production, owned).catch((error: unknown) => {
        throw new Error(`seed ${String(seed)}, turn ${String(turn)}`, { cause: error });
      });
    }
    expect(owned.size + production.size).toBeGreaterThan(0);
  });

  it('two rows of production swap a unique value beside a third that is owned', async () => {
    const at = await scene(engine);
    const rows = [1, 2, 3].map((id): SeatRow => ({ id, k: 'a', v: null, n: id }));
    const apply = (...changes: readonly NetChange[]) =>
      at.database.apply(at.fence, batchOf([rowsStep(at.stage, 'seat', ...changes)]));
    await apply(...rows.map((row) => changeOf(row)));
    await at.candidate.query(`UPDATE seat SET v = 'mine' WHERE id = 3`);
    const swapped = rows.map((row) => ({ ...row, n: row.id === 3 ? 3 : 3 - row.id }));
    expect(await apply(...swapped.map((row) => changeOf(row)))).toMatchObject({ owned: 1 });
    expect(await rowsOf(at.admin, 'SELECT id, n, v FROM seat ORDER BY id')).toEqual([
      { id: 1, n: 2, v: null },
      { id: 2, n: 1, v: null },
      { id: 3, n: 3, v: 'mine' },
    ]);
  });
});
