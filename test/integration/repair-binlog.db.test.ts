/**
 * How tables of MySQL and MariaDB are compared and read for a repair: every type, by the databases' own
 * word. End to end with Debezium: test/e2e/bootstrap-binlog.e2e.test.ts.
 */
import { describe, expect, it, onTestFinished } from 'vitest';
import { START } from '../../src/change/position.ts';
import type { ComparedTable, Leaf, TableReader } from '../../src/dialect/dialect.ts';
import { dialectFor } from '../../src/dialect/registry.ts';
import { rowUpsert } from '../../src/drift/row-change.ts';
import { writableColumns } from '../../src/schema/table-schema.ts';
import { BINLOG, connectBinlog, readBinlog } from '../support/types/binlog.ts';
import { MARIADB_TABLES, MYSQL_TABLES } from '../support/types/binlog-tables.ts';
import type { Rows } from '../support/types/exceptions.ts';
import { snapshotSql } from '../support/types/type-table.ts';
import { batchOf, ENGINES, stageOf, type Stage } from './mysql.fixture.ts';

/** A decimal inside of JSON becomes a double on its way through JSON's text, here as in an event. */
const UNTOLD = new Set(['c_json_typed']);

function told(rows: Rows): ReadonlyMap<number, unknown> {
  return new Map(
    [...rows]
      .map(([id, cells]) => [id, [...cells].filter(([name]) => !UNTOLD.has(name))] as const)
      .toSorted(([a], [b]) => a - b),
  );
}

async function comparedOf(stage: Stage, name: string): Promise<ComparedTable> {
  const schema = (await stage.database.catalogue()).get(`${stage.source}.${name}`);
  if (schema === undefined) throw new Error(`there is no table ${name}`);
  const columns = writableColumns(schema).map((column) => column.name);
  return {
    ...{ table: schema.id, key: schema.key },
    columns: columns.filter((column) => !UNTOLD.has(column)),
  };
}

async function leavesOf(reader: TableReader, table: ComparedTable): Promise<readonly Leaf[]> {
  const leaves: Leaf[] = [];
  for await (const some of reader.cutLeaves(table, 5)) leaves.push(...some);
  return leaves;
}

describe.each(ENGINES)('%s', (engine) => {
  it('finds rows of every type that differ, and reads them so that they are equal again', async () => {
    const tables = engine === 'mysql' ? MYSQL_TABLES : MARIADB_TABLES;
    const stage = await stageOf(engine, 'CREATE TABLE first (id INT PRIMARY KEY)');
    const [theirs, ours] = [
      await connectBinlog(`${stage.url}${stage.source}`),
      await connectBinlog(`${stage.url}${stage.trunk}`),
    ];
    onTestFinished(async () => {
      await Promise.all([theirs.end(), ours.end()]);
    });
    for (const table of tables) {
      for (const sql of snapshotSql(table, BINLOG)) await theirs.query(sql);
      for (const sql of snapshotSql(table, BINLOG)) await ours.query(sql);
    }
    const production = await dialectFor(stage.url).connectProduction(
      `${stage.url}${stage.source}`,
      () => true,
    );
    await using pinned = await production.pin();
    expect(pinned).toMatchObject({ proof: 'log-position' });
    expect(pinned.marker).toBeGreaterThanOrEqual(pinned.floor);
    await using before = await stage.database.openBaseSnapshot();
    expect(await before.selfTest()).toBe(await pinned.reader.selfTest());
    for (const { name } of tables) {
      const compared = await comparedOf(stage, name);
      expect(await before.forms(compared)).toEqual(await pinned.reader.forms(compared));
      const leaves = await leavesOf(pinned.reader, compared);
      expect(leaves.length).toBeGreaterThan(1);
      expect(await leavesOf(before, compared), name).toEqual(leaves);
      await ours.query(`DELETE FROM \`${name}\` WHERE id % 2 = 0`);
    }
    await using after = await stage.database.openBaseSnapshot();
    for (const { name } of tables) {
      const compared = await comparedOf(stage, name);
      const all = [{ from: null, to: null }];
      const wanted = await pinned.reader.rowHashes(compared, all);
      const there = new Set((await after.rowHashes(compared, all)).map(({ key }) => key.join()));
      const missing = wanted.map(({ key }) => key).filter((key) => !there.has(key.join()));
      expect(missing.length).toBeGreaterThan(0);
      const schema = (await stage.database.catalogue()).get(`${stage.source}.${name}`);
      if (schema === undefined) throw new Error(`there is no table ${name}`);
      const rows = await pinned.reader.rows(compared, missing);
      const changes = rows.map((row) => rowUpsert(schema, compared.columns, row, true));
      await stage.database.apply(
        stage.fence,
        batchOf([{ kind: 'rows', table: schema.id, changes }], {
          ...{ ...START, offsets: new Map([[`p.${name}/0`, 1n]]) },
        }),
      );
      expect(told(await readBinlog(ours, name)), name).toEqual(
        told(await readBinlog(theirs, name)),
      );
    }
  });

  it('spells keys as their columns do, or says that they are none', async () => {
    const stage = await stageOf(
      engine,
      `CREATE TABLE k (i INT, n DECIMAL(6,2), t VARCHAR(4), b BINARY(2), d DATETIME(3),
        PRIMARY KEY (i, n, t, b, d))`,
    );
    await using base = await stage.database.openBaseSnapshot();
    const table = await comparedOf(stage, 'k');
    const day = '2024-02-29 10:00:00.5';
    expect(await base.spellKey(table, ['+07', '01.5', 'ä ', 'ab', day])).toEqual([
      ...['7', '1.50', 'ä ', '0x6162', '2024-02-29 10:00:00.500'],
    ]);
    for (const wrong of [
      ['x', '1', 'a', 'ab', day],
      ['1', '1.555', 'a', 'ab', day],
      ['1', '1', 'too long', 'ab', day],
      ['1', '123456', 'a', 'ab', day],
      ['1', '1', 'a', 'ab', 'yesterday'],
      ['1', '1', 'a', 'ab', '2024-13-01 00:00:00'],
      ['1', '1', 'a', 'ab', `${day}1234`],
    ]) {
      expect(await base.spellKey(table, wrong), wrong.join()).toBeNull();
    }
  });
});
