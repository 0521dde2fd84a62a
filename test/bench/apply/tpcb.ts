/** pgbench's TPC-B: its tables, and a backlog of its transactions. */
import type { BenchTables } from './bench-log.ts';

export const TPCB_TABLES = ['branches', 'tellers', 'accounts', 'history'] as const;

/** Changes of rows in one transaction. */
export const TPCB_CHANGES = 4;

export function tpcb(rows: number, transactions: number): BenchTables & { readonly run: string } {
  const branches = Math.max(1, Math.ceil(rows / 100_000));
  const random = (to: number, salt: number): string =>
    `1 + abs(hashint8(i * 8 + ${salt})::bigint) % ${to}`;
  return {
    async create(door) {
      await door.query(`
        CREATE TABLE branches (bid int PRIMARY KEY, bbalance int, filler char(88));
        CREATE TABLE tellers (tid int PRIMARY KEY, bid int, tbalance int, filler char(84));
        CREATE TABLE accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));
        CREATE TABLE history (hid int PRIMARY KEY, tid int, bid int, aid int, delta int,
          mtime timestamp, filler char(22))`);
    },
    async fill(door) {
      await door.query(`
        INSERT INTO branches SELECT i, 0, '' FROM generate_series(1, ${branches}) i;
        INSERT INTO tellers SELECT i, 1 + (i - 1) / 10, 0, '' FROM generate_series(1, ${branches * 10}) i;
        INSERT INTO accounts SELECT i, 1 + (i - 1) / 100000, 0, '' FROM generate_series(1, ${rows}) i`);
      for (const table of TPCB_TABLES) await door.query(`VACUUM ANALYZE ${table}`);
    },
    run: `DO $$
      DECLARE a int; t int; b int; d int;
      BEGIN
        FOR i IN 1..${transactions} LOOP
          a := ${random(rows, 1)}; t := ${random(branches * 10, 2)};
          b := ${random(branches, 3)}; d := ${random(10_000, 4)} - 5000;
          UPDATE accounts SET abalance = abalance + d WHERE aid = a;
          UPDATE tellers SET tbalance = tbalance + d WHERE tid = t;
          UPDATE branches SET bbalance = bbalance + d WHERE bid = b;
          INSERT INTO history VALUES (i, t, b, a, d, clock_timestamp());
          COMMIT;
        END LOOP;
      END $$`,
    async digest(door) {
      const parts = TPCB_TABLES.map(
        (table) =>
          `(SELECT count(*) || ' ' || bit_xor(hashtextextended(t::text, 0)) FROM ${table} t)`,
      );
      const [row] = await door.query(`SELECT concat_ws(', ', ${parts.join(', ')}) AS digest`);
      return String(row?.['digest']);
    },
    async isLastThere(door) {
      return (await door.query(`SELECT 1 FROM history WHERE hid = ${transactions}`)).length === 1;
    },
  };
}
