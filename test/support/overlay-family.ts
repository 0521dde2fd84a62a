/**
 * Foreign keys of the overlay under fire: a candidate deletes and moves parents and children, while production
 * writes rows below them and its deletes go on to rows that no log tells of on MySQL and MariaDB.
 * Whatever the candidate does, production's image is the model; resets and sweeps in between change nothing of it.
 */
import { deepStrictEqual, strictEqual } from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import type { BatchStep } from '../../src/order/change-batch.ts';
import { RowShape } from '../../src/change/value.ts';
import { IDLE, type FireOptions } from './overlay-fire.ts';
import type { Random } from './random.ts';

export const FAMILY_DDL = [
  'CREATE TABLE p (id INT PRIMARY KEY, up INT, v VARCHAR(20))',
  `CREATE TABLE c (id INT PRIMARY KEY, up INT, v VARCHAR(20),
    FOREIGN KEY (up) REFERENCES p (id) ON DELETE CASCADE)`,
  `CREATE TABLE g (id INT PRIMARY KEY, up INT, v VARCHAR(20),
    FOREIGN KEY (up) REFERENCES c (id) ON DELETE CASCADE)`,
  `CREATE TABLE n (id INT PRIMARY KEY, up INT, v VARCHAR(20),
    FOREIGN KEY (up) REFERENCES c (id) ON DELETE SET NULL)`,
  `CREATE TABLE e (id INT PRIMARY KEY, up INT, v VARCHAR(20),
    FOREIGN KEY (up) REFERENCES e (id) ON DELETE CASCADE)`,
];
export const FAMILY_TABLES = ['p', 'c', 'g', 'n', 'e'] as const;
const TABLES = FAMILY_TABLES;
export type Table = (typeof TABLES)[number];
/** What rows refer to. */
const ABOVE: Readonly<Record<Table, Table | null>> = { p: null, c: 'p', g: 'c', n: 'c', e: 'e' };

const KEYS = 8;
const WRITERS = 16;
const SHAPE = new RowShape(['id', 'up', 'v']);

export interface FamilyRow {
  readonly up: number | null;
  readonly v: string;
}

type Rows = Map<number, FamilyRow>;

/** A session of the candidate. */
export interface FamilySession {
  begin(random: Random): Promise<void>;
  run(sql: string): Promise<unknown>;
  end(): Promise<void>;
}

/** What writes to the rollout beside the candidate; false: it gave way. */
export interface FamilyApplier {
  apply(steps: readonly BatchStep[]): Promise<boolean>;
  reset(table: Table | null): Promise<boolean>;
  /** Gives up all that is production's again. */
  sweep(): Promise<boolean>;
  /** Writes all that waits, when nobody writes any more. */
  settle(): Promise<boolean>;
  /** Rows of production's image, in the observer's snapshot. */
  image(table: Table): Promise<readonly { id: number; up: number | null; v: string }[]>;
  begin(): Promise<void>;
  end(): Promise<void>;
  connect(): Promise<FamilySession>;
  isCollision(error: unknown): boolean;
  /** Production's name for its database. */
  readonly source: string;
  /** Production's log tells of each row that a delete goes on to; there is no IGNORE. */
  readonly tellsAll: boolean;
  /** What else must be, in the observer's snapshot, with production's image as it must be. */
  also?(settled: boolean): Promise<void>;
}

export async function playFamily(options: FireOptions, applier: FamilyApplier): Promise<number> {
  const { random, durationMs, signal, idleMs = 0 } = options;
  const until = performance.now() + durationMs;
  let [isOver, serial, checks] = [false, 0, 0];
  const stopped = (): boolean => isOver || signal.aborted || performance.now() > until;
  const value = (): string => `v${String((serial += 1))}`;
  let model = new Map<Table, Rows>(TABLES.map((table) => [table, new Map()]));

  const check = async (settled = false): Promise<void> => {
    await applier.begin();
    for (const table of TABLES) {
      const expected = [...(model.get(table) ?? [])]
        .toSorted(([a], [b]) => a - b)
        .map(([id, { up, v }]) => ({ id, up, v }));
      deepStrictEqual([...(await applier.image(table))], expected, `${table} is production’s`);
    }
    await applier.also?.(settled);
    await applier.end();
    checks += 1;
  };
  const stream = async (source: Random): Promise<void> => {
    while (!stopped()) {
      const next = new Map([...model].map(([table, rows]) => [table, new Map(rows)] as const));
      const steps: BatchStep[] = [];
      for (let i = source.integer(1, 6); i > 0; i -= 1) {
        steps.push(...productionSteps(source, next, { ...applier, value }));
      }
      while (!(await applier.apply(steps))) {
        if (stopped()) return;
        await pause(1);
      }
      model = next;
      await check();
      if (source.chance(0.5)) {
        if (source.chance(0.3)) await applier.sweep();
        else await applier.reset(source.chance(0.6) ? null : source.pick(TABLES));
        await check();
      }
      await pause(source.integer(0, 3));
    }
  };
  const write = async (source: Random): Promise<void> => {
    const client = await applier.connect();
    try {
      while (!stopped()) {
        await pause(source.integer(0, 10));
        try {
          await client.begin(source);
          for (let i = source.integer(1, 3); i > 0; i -= 1) {
            await client.run(candidateStatement(source, value(), applier));
          }
          if (source.chance(idleMs > 0 ? IDLE : 0)) await pause(source.integer(0, idleMs));
          await client.run(source.chance(0.25) ? 'ROLLBACK' : 'COMMIT');
        } catch (error) {
          if (!applier.isCollision(error)) throw error;
          await client.run('ROLLBACK');
        }
      }
    } finally {
      await client.end();
    }
  };
  const untilEnd = async (work: Promise<void>): Promise<void> => {
    try {
      await work;
    } finally {
      isOver = true;
    }
  };
  const sources = Array.from({ length: WRITERS }, () => random.fork());
  await Promise.all([
    untilEnd(stream(random.fork())),
    ...sources.map((source) => untilEnd(write(source))),
  ]);
  await check();
  strictEqual(await applier.settle(), true, 'when nobody writes, all that waits is written');
  await check(true);
  return checks;
}

function candidateStatement(
  random: Random,
  v: string,
  { tellsAll }: Pick<FamilyApplier, 'tellsAll'>,
): string {
  const table = random.pick(TABLES);
  const [id, other, up] = [1, 2, 3].map(() => String(random.integer(1, KEYS)));
  const ignore = tellsAll ? '' : 'IGNORE';
  return random.pick([
    `DELETE FROM p WHERE id IN (${id}, ${other})`,
    `DELETE FROM ${table} WHERE id IN (${id}, ${other}) ${tellsAll ? '' : 'ORDER BY id'}`,
    `DELETE FROM ${table} WHERE id = ${id}`,
    `DELETE ${ignore} FROM ${table} WHERE id IN (${id}, ${other})`,
    `UPDATE ${table} SET v = '${v}' WHERE id = ${id}`,
    `UPDATE ${ignore} ${table} SET id = ${other} WHERE id = ${id}`,
    `UPDATE ${ignore} ${table} SET v = '${v}', up = ${table === 'p' ? 'NULL' : up} WHERE id = ${id}`,
    `UPDATE ${table} SET up = ${table === 'p' ? '1' : up} WHERE id = ${id}`,
    `INSERT INTO ${table} VALUES (${id}, ${table === 'p' ? 'NULL' : up}, '${v}')`,
    `INSERT ${ignore} INTO p VALUES (${id}, NULL, '${v}') ${tellsAll ? 'ON CONFLICT DO NOTHING' : ''}`,
  ]);
}

/** One change of production's, in the model too; a delete goes on as the servers let it. */
function productionSteps(
  random: Random,
  model: ReadonlyMap<Table, Rows>,
  {
    value,
    source,
    tellsAll,
  }: Pick<FamilyApplier, 'source' | 'tellsAll'> & { readonly value: () => string },
): readonly BatchStep[] {
  const table = random.pick(TABLES);
  const rows = model.get(table) ?? new Map<number, FamilyRow>();
  const name = { schema: source, name: table };
  if (rows.size > 0 && random.chance(0.3)) {
    const id = random.pick([...rows.keys()]);
    const reached = remove(model, table, id);
    const key = [String(id)];
    if (tellsAll) return reached.map((one) => toldStep(source, one));
    return [
      { kind: 'cascade', table: name, changes: [{ kind: 'delete', key }] },
      { kind: 'rows', table: name, changes: [{ kind: 'delete', key }] },
    ];
  }
  const id = random.integer(1, KEYS);
  const above = ABOVE[table];
  const parents = [...((above === null ? undefined : model.get(above)) ?? new Map()).keys()];
  // No circles: of a tree, only what has a lesser number.
  const possible = parents.filter((one) => table !== 'e' || Number(one) < id) as number[];
  const up = possible.length === 0 || random.chance(0.2) ? null : random.pick(possible);
  const row = { up, v: value() };
  rows.set(id, row);
  return [toldStep(source, { table, id, row })];
}

interface Reached {
  readonly table: Table;
  readonly id: number;
  readonly row: FamilyRow | null;
}

function toldStep(source: string, { table, id, row }: Reached): BatchStep {
  const name = { schema: source, name: table };
  const key = [String(id)];
  if (row === null) return { kind: 'rows', table: name, changes: [{ kind: 'delete', key }] };
  const values = [String(id), row.up === null ? null : String(row.up), row.v];
  const image = { shape: SHAPE, values };
  return {
    ...{ kind: 'rows', table: name },
    changes: [{ kind: 'upsert', key, from: key, complete: true, image }],
  };
}

/** Returns what became of rows, in the order of a log. */
function remove(model: ReadonlyMap<Table, Rows>, table: Table, id: number): readonly Reached[] {
  const reached: Reached[] = [{ table, id, row: null }];
  model.get(table)?.delete(id);
  for (const below of TABLES.filter((one) => ABOVE[one] === table)) {
    for (const [child, row] of model.get(below) ?? []) {
      if (row.up !== id) continue;
      if (below === 'n') {
        const next = { ...row, up: null };
        model.get(below)?.set(child, next);
        reached.push({ table: below, id: child, row: next });
      } else reached.push(...remove(model, below, child));
    }
  }
  return reached;
}
