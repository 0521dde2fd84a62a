/** The bound of unknown-sql.ts, shown by the server: what is short is never stored out of line. */
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isShort } from '../../src/dialect/postgres/apply/unknown-sql.ts';
import { testDatabase } from '../support/test-database.ts';

let client: pg.Client;

beforeAll(async () => {
  client = new pg.Client({ connectionString: (await testDatabase('toast')).url });
  await client.connect();
});

afterAll(() => client.end());

/** Bytes of a value without its length word, from far below the bound to far above. */
const PAYLOADS = [1, 8, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 32, 60];
const COLUMNS = 200;

interface Stored {
  readonly payload: number;
  readonly short: boolean;
  readonly out: boolean;
}

/**
 * One row per payload of many such values beside each other, which together are far too large for
 * a row, so that the server moves out whatever it may.
 */
async function store(options: {
  readonly storage: 'EXTERNAL' | 'EXTENDED' | 'MAIN';
  readonly type: string;
  /** A value of $1 bytes, different for each column i. */
  readonly value: (payload: number, i: number) => string;
  readonly target: number;
  /** Written into another table first, so that it comes with a short length word. */
  readonly copied: boolean;
}): Promise<readonly Stored[]> {
  const names = Array.from({ length: COLUMNS }, (_, i) => `c${i}`);
  const columns = names.map((name) => `${name} ${options.type}`).join(', ');
  await client.query(`DROP TABLE IF EXISTS wide, narrow;
    CREATE TABLE narrow (id int, v ${options.type});
    ALTER TABLE narrow ALTER v SET STORAGE ${options.storage};
    CREATE TABLE wide (id int, ${columns}) WITH (toast_tuple_target = ${options.target});
    ${names.map((name) => `ALTER TABLE wide ALTER ${name} SET STORAGE ${options.storage}`).join(';')}`);
  for (const [id, payload] of PAYLOADS.entries()) {
    const values = names.map((_, i) => options.value(payload, i));
    if (options.copied) {
      await client.query(`INSERT INTO narrow VALUES (${id}, ${values[0]})`);
      const same = names.map(() => '(SELECT v FROM narrow WHERE id = $1)');
      await client.query(`INSERT INTO wide SELECT $1::int, ${same.join(', ')}`, [id]);
    } else {
      await client.query(`INSERT INTO wide VALUES (${id}, ${values.join(', ')})`);
    }
  }
  const result = await client.query<{ id: number; short: boolean; out: boolean }>(
    `SELECT id, ${names.map((name) => isShort(name)).join(' OR ')} AS short,
       ${names.map((name) => `pg_column_toast_chunk_id(${name}) IS NOT NULL`).join(' OR ')} AS out
     FROM wide ORDER BY id`,
  );
  return result.rows.map((row) => ({
    payload: PAYLOADS[row.id] ?? 0,
    short: row.short,
    out: row.out,
  }));
}

const BYTEA = (payload: number, i: number): string =>
  `decode(rpad(md5('${i}') || md5('x${i}') || md5('y${i}') || md5('z${i}'), ${payload * 2}), 'hex')`;
/** A numeric has two bytes and two more for every four digits. */
const NUMERIC = (payload: number, i: number): string =>
  `'${Array.from({ length: Math.max(1, Math.floor((payload - 2) / 2)) }, (_, group) =>
    String(1000 + ((i * 7919 + group * 104_729) % 8999)),
  ).join('')}'::numeric`;

const CASES = (['EXTERNAL', 'EXTENDED', 'MAIN'] as const).flatMap((storage) =>
  [128, 2040].flatMap((target) =>
    [false, true].flatMap((copied) =>
      (
        [
          ['bytea', BYTEA],
          ['numeric', NUMERIC],
        ] as const
      ).map(([type, value]) => ({ storage, target, copied, type, value })),
    ),
  ),
);

describe('a value at or below the bound', () => {
  it.each(CASES)(
    'is never out of line: $type $storage, target $target, copied $copied',
    async (c) => {
      const stored = await store(c);
      for (const { payload, short, out } of stored) {
        expect({ payload, lie: short && out }).toEqual({ payload, lie: false });
      }
      // The test has teeth: values were moved out, and values were told to be short.
      expect(stored.some(({ out }) => out)).toBe(true);
      expect(stored.filter(({ short }) => short).map(({ payload }) => payload)).toContain(16);
    },
  );

  it('is nearly as long as can be: a little longer, and one is out of line', async () => {
    const stored = await store({
      ...{ storage: 'EXTERNAL', type: 'bytea', value: BYTEA, target: 128, copied: false },
    });
    const shortest = Math.min(...stored.filter(({ out }) => out).map(({ payload }) => payload));
    const longest = Math.max(...stored.filter(({ short }) => short).map(({ payload }) => payload));
    expect({ longest, shortest }).toEqual({ longest: 19, shortest: 24 });
  });

  it('is not told of a compressed value, however small it became', async () => {
    await client.query(`DROP TABLE IF EXISTS packed;
      CREATE TABLE packed (v bytea, rest text) WITH (toast_tuple_target = 128);
      ALTER TABLE packed ALTER rest SET STORAGE PLAIN;
      INSERT INTO packed VALUES (decode(repeat('00', 60), 'hex'), repeat('x', 2500))`);
    const { rows } = await client.query<{ size: number; short: boolean }>(
      `SELECT pg_column_size(v) AS size, ${isShort('v')} AS short FROM packed`,
    );
    expect(rows[0]?.size).toBeLessThanOrEqual(20);
    expect(rows[0]?.short).toBe(false);
  });
});
