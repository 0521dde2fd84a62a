/**
 * What foreign keys do to production's rows, where the log does not hold it and a candidate writes too:
 * production's image is as in the trunk, where the server does it, and what the candidate owns stays.
 */
import { describe, expect, it } from 'vitest';
import type { ParentChange } from '../../src/order/change-batch.ts';
import { Random } from '../support/random.ts';
import { baseSeed } from '../support/seeds.ts';
import {
  ENGINES,
  gone,
  imageOf,
  overlaidRollout,
  put,
  rowsOf,
  rowsStep,
  stageOf,
  type Overlaid,
  type Row,
  type Stage,
} from './mysql.fixture.ts';

const SCHEMA = [
  'CREATE TABLE folder (id INT PRIMARY KEY, code VARCHAR(5) UNIQUE)',
  `CREATE TABLE file (id INT PRIMARY KEY, folder VARCHAR(5), size INT,
    FOREIGN KEY (folder) REFERENCES folder (code) ON DELETE CASCADE ON UPDATE CASCADE)`,
  `CREATE TABLE line (id INT PRIMARY KEY, file INT,
    FOREIGN KEY (file) REFERENCES file (id) ON DELETE SET NULL ON UPDATE CASCADE)`,
  `CREATE TABLE note (id INT PRIMARY KEY, line INT, folder VARCHAR(5),
    FOREIGN KEY (line) REFERENCES line (id) ON DELETE CASCADE,
    FOREIGN KEY (folder) REFERENCES folder (code) ON DELETE SET NULL ON UPDATE SET NULL)`,
  `CREATE TABLE tree (id INT PRIMARY KEY, up INT, folder INT,
    FOREIGN KEY (up) REFERENCES tree (id) ON DELETE CASCADE,
    FOREIGN KEY (folder) REFERENCES folder (id) ON DELETE CASCADE)`,
  `CREATE TABLE held (id INT PRIMARY KEY, file INT, folder INT,
    FOREIGN KEY (file) REFERENCES file (id) ON DELETE RESTRICT,
    FOREIGN KEY (folder) REFERENCES folder (id))`,
];
const COLUMNS = {
  folder: ['id', 'code'],
  file: ['id', 'folder', 'size'],
  line: ['id', 'file'],
  note: ['id', 'line', 'folder'],
  tree: ['id', 'up', 'folder'],
  held: ['id', 'file', 'folder'],
} as const;
type Table = keyof typeof COLUMNS;
const TABLES = Object.keys(COLUMNS) as Table[];

const columnsOf = (table: Table): string => COLUMNS[table].join(', ');

/** A row with references that may lead nowhere. */
function someRow(random: Random, table: Table): Record<string, string | null> {
  const number = (): string => String(random.integer(1, 6));
  const maybe = (value: string): string | null => (random.chance(0.2) ? null : value);
  const id = number();
  const code = `c${number()}`;
  switch (table) {
    case 'folder':
      return { id, code: `c${id}` };
    case 'file':
      return { id, folder: maybe(code), size: number() };
    case 'line':
      return { id, file: maybe(number()) };
    case 'note':
      return { id, line: maybe(number()), folder: maybe(code) };
    case 'tree':
      return {
        id,
        up: Number(id) === 1 ? null : String(random.integer(1, Number(id) - 1)),
        folder: maybe(number()),
      };
    case 'held':
      return { id: '1', file: maybe(number()), folder: maybe(number()) };
  }
}

function candidateStatement(random: Random): string {
  const table = random.pick(TABLES);
  const id = String(random.integer(1, 6));
  const value = (one: string | null): string => (one === null ? 'NULL' : `'${one}'`);
  const row = someRow(random, table);
  // Codes of folders are unique: it takes none of production's.
  const set = Object.entries(table === 'folder' ? { code: `x${id}` } : row).filter(
    ([name]) => name !== 'id',
  );
  return random.pick([
    `DELETE FROM ${table} WHERE id = ${id}`,
    `UPDATE ${table} SET ${set.map(([name, one]) => `${name} = ${value(one)}`).join(', ')} WHERE id = ${id}`,
    `UPDATE ${table} SET ${set.map(([name, one]) => `${name} = ${value(one)}`).join(', ')} WHERE id = ${id}`,
    `INSERT INTO ${table} (${Object.keys(row).join(', ')}) VALUES (${Object.values(row).map(value).join(', ')})`,
    `UPDATE folder SET code = 'x${id}' WHERE id = ${id}`,
  ]);
}

/** What a candidate may run into, as in production. */
const REFUSED = new Set([1062, 1451, 1452, 6575]);

describe.each(ENGINES)('on %s', (engine) => {
  it('goes from row to row in production’s image, through rows that the candidate owns', async () => {
    const stage = await stageOf(engine, ...SCHEMA);
    const at = await overlaidRollout(stage);
    const ids = ['1', '2', '3', '4', '5'];
    const steps = [
      rowsStep(stage, 'folder', put(['id'], { id: '1', code: 'c1' })),
      rowsStep(
        stage,
        'tree',
        ...ids.map((id) =>
          put(['id'], { id, up: id === '1' ? null : String(Number(id) - 1), folder: null }),
        ),
      ),
    ];
    await stage.apply(...steps);
    await at.apply(...steps);
    await at.candidate.query('UPDATE tree SET folder = 1 WHERE id > 1');
    const goes = [
      {
        kind: 'cascade' as const,
        table: { schema: stage.source, name: 'tree' },
        changes: [{ kind: 'delete' as const, key: ['1'] }],
      },
      rowsStep(stage, 'tree', gone('1')),
    ];
    await stage.apply(...goes);
    await at.apply(...goes);
    expect(await stage.rows('SELECT id FROM tree')).toEqual([]);
    expect(await imageOf(at, 'tree', 'id')).toEqual([]);
    const seen = (await rowsOf(at.admin, 'SELECT id FROM tree ORDER BY id')).map(({ id }) => id);
    expect(seen).toEqual([2, 3, 4, 5]);
  });

  it('carries on in production’s image, whatever the candidate owns, as the trunk’s server does', async () => {
    const seed = baseSeed(process.env['UNDERSTUDY_SEED']);
    const random = new Random(seed);
    const stage = await stageOf(engine, ...SCHEMA);
    const at = await overlaidRollout(stage);
    let carried = 0;
    for (let turn = 0; turn < 250; turn += 1) {
      if (random.chance(0.35)) {
        await at.candidate.query(candidateStatement(random)).catch((error: { errno: number }) => {
          if (!REFUSED.has(error.errno)) throw error;
        });
        continue;
      }
      const table = random.pick(TABLES);
      const steps = random.chance(0.5)
        ? [rowsStep(stage, table, put(['id'], someRow(random, table)))]
        : await parentSteps(random, stage, turn);
      const owned = await ownedRows(at);
      const [trunk, rollout] = [await stage.apply(...steps), await at.apply(...steps)];
      carried += steps.some(({ kind }) => kind === 'cascade') ? 1 : 0;
      const where = `seed ${String(seed)}, turn ${String(turn)}: ${JSON.stringify(steps)}`;
      expect(rollout.uncarried, where).toBe(trunk.uncarried);
      for (const name of TABLES) {
        const expected = await stage.rows(`SELECT ${columnsOf(name)} FROM ${name} ORDER BY id`);
        expect(await imageOf(at, name, columnsOf(name)), `${where}, ${name}`).toEqual(expected);
      }
      // What the candidate saw of its rows it sees, or they are production's by now.
      expect(await visibleOf(at, owned), where).toEqual([...owned.values()]);
    }
    expect(carried).toBeGreaterThan(10);
  });
});

/** Rows, by table and id, that the candidate owns, and which differ from production's. */
async function ownedRows(at: Overlaid): Promise<ReadonlyMap<string, string | null>> {
  const owned = new Map<string, string | null>();
  for (const table of TABLES) {
    const journal = `\`${at.name}__understudy\`.\`${table}#journal\``;
    const same = COLUMNS[table].map((name) => `BINARY t.${name} <=> BINARY j.${name}`);
    const differing = `SELECT j.id FROM ${journal} j LEFT JOIN ${table} t ON t.id = j.id
      WHERE NOT (CASE WHEN t.id IS NULL THEN understudy_present = 0
        ELSE understudy_present = 1 AND ${same.join(' AND ')} END) ORDER BY 1`;
    for (const { id } of await rowsOf(at.admin, differing)) {
      owned.set(`${table} ${String(id)}`, null);
    }
  }
  for (const [key] of owned) owned.set(key, await visible(at, key));
  return owned;
}

async function visible(at: Overlaid, key: string): Promise<string | null> {
  const [table, id] = key.split(' ') as [Table, string];
  const [row] = await rowsOf(at.admin, `SELECT ${columnsOf(table)} FROM ${table} WHERE id = ${id}`);
  return row === undefined ? null : JSON.stringify(row);
}

async function visibleOf(
  at: Overlaid,
  owned: ReadonlyMap<string, string | null>,
): Promise<unknown> {
  const now: (string | null)[] = [];
  for (const [key] of owned) now.push(await visible(at, key));
  return now;
}

/** A parent that goes, or gets another code or id, as its log has it. */
async function parentSteps(random: Random, stage: Stage, turn: number) {
  const table = random.pick(['folder', 'folder', 'file', 'tree', 'line'] as const);
  const rows = await stage.rows(`SELECT ${columnsOf(table)} FROM ${table}`);
  if (rows.length === 0) return [];
  const some = random.shuffle([...rows]).slice(0, random.integer(1, 2));
  const [first] = some as [Row];
  const id = String(first['id']);
  const taken = new Set(rows.map((row) => Number(row['id'])));
  const id2 = String([7, 8, 9, 10, 11, 12, 13, 14].find((one) => !taken.has(one)) ?? 99);
  const cascade = (changes: readonly ParentChange[]) => ({
    kind: 'cascade' as const,
    ...{ table: { schema: stage.source, name: table }, changes },
  });
  if (table === 'folder' && random.chance(0.4)) {
    const code = random.pick([String(first['code']).toUpperCase(), `d${String(turn)}`, null]);
    return [
      cascade([{ kind: 'update', key: [id], columns: [['code', code]] }]),
      rowsStep(stage, table, put(['id'], { id, code })),
    ];
  }
  if (table === 'file' && random.chance(0.4)) {
    return [
      cascade([{ kind: 'update', key: [id], columns: [['id', id2]] }]),
      rowsStep(stage, table, gone(id), put(['id'], { ...texts(first), id: id2 }, { from: [id] })),
    ];
  }
  return [
    cascade(some.map((row) => ({ kind: 'delete', key: [String(row['id'])] }))),
    rowsStep(stage, table, ...some.map((row) => gone(String(row['id'])))),
  ];
}

describe.each(ENGINES)('also on %s', (engine) => {
  it('reaches keys that move with what they refer to, and tables without a key', async () => {
    const stage = await stageOf(
      engine,
      'CREATE TABLE p (id INT PRIMARY KEY, code INT, KEY (code))',
      `CREATE TABLE h (pid INT, id INT, v INT, PRIMARY KEY (pid, id),
        FOREIGN KEY (pid) REFERENCES p (id) ON DELETE CASCADE ON UPDATE CASCADE)`,
      `CREATE TABLE loose (pid INT, mark INT UNIQUE,
        FOREIGN KEY (pid) REFERENCES p (id) ON DELETE CASCADE ON UPDATE CASCADE)`,
      `CREATE TABLE under (id INT PRIMARY KEY, mark INT,
        FOREIGN KEY (mark) REFERENCES loose (mark) ON DELETE SET NULL)`,
    );
    const rows = [
      rowsStep(stage, 'p', ...['1', '2'].map((id) => put(['id'], { id, code: id }))),
      rowsStep(
        stage,
        'h',
        ...['1', '2', '3'].map((id) => put(['pid', 'id'], { pid: '1', id, v: '0' })),
        put(['pid', 'id'], { pid: '2', id: '1', v: '0' }),
      ),
      rowsStep(stage, 'under', ...['1', '2'].map((id) => put(['id'], { id, mark: id }))),
    ];
    await stage.apply(...rows);
    await stage.client.query('INSERT INTO loose VALUES (1, 7), (1, NULL), (2, 1), (2, 2)');
    const at = await overlaidRollout(stage);
    await at.candidate.query('UPDATE h SET v = 5 WHERE pid = 1 AND id = 2');
    await at.candidate.query('UPDATE under SET mark = 7 WHERE id = 1');
    const steps = (id: string, to: string) => {
      const change: ParentChange = { kind: 'update', key: [id], columns: [['id', to]] };
      return [
        { kind: 'cascade' as const, table: { schema: stage.source, name: 'p' }, changes: [change] },
        rowsStep(stage, 'p', gone(id), put(['id'], { id: to, code: id }, { from: [id] })),
      ];
    };
    const change: ParentChange = { kind: 'delete', key: ['2'] };
    const goes = [
      { kind: 'cascade' as const, table: { schema: stage.source, name: 'p' }, changes: [change] },
      rowsStep(stage, 'p', gone('2')),
    ];
    for (const some of [steps('1', '9'), goes]) {
      await stage.apply(...some);
      await at.apply(...some);
    }
    const journal = `\`${at.name}__understudy\`.\`h#journal\``;
    const image = `SELECT pid, id, v FROM h t
        WHERE NOT EXISTS (SELECT 1 FROM ${journal} j WHERE j.pid = t.pid AND j.id = t.id)
      UNION ALL SELECT pid, id, v FROM ${journal} WHERE understudy_present = 1 ORDER BY pid, id`;
    expect(await rowsOf(at.admin, image)).toEqual(
      await stage.rows('SELECT pid, id, v FROM h ORDER BY pid, id'),
    );
    expect(await rowsOf(at.admin, 'SELECT pid, id, v FROM h ORDER BY pid, id')).toEqual([
      // The candidate's, which stays under the key that it had.
      { pid: 1, id: 2, v: 5 },
      { pid: 9, id: 1, v: 0 },
      { pid: 9, id: 2, v: 0 },
      { pid: 9, id: 3, v: 0 },
    ]);
    const loose = 'SELECT pid, mark FROM loose ORDER BY pid, mark';
    expect(await rowsOf(at.admin, loose)).toEqual(await stage.rows(loose));
    expect(await imageOf(at, 'under', 'id, mark')).toEqual(
      await stage.rows('SELECT id, mark FROM under ORDER BY id'),
    );
    expect(await rowsOf(at.admin, 'SELECT mark FROM under WHERE id = 1')).toEqual([{ mark: 7 }]);
  });
});

function texts(row: Row): Record<string, string | null> {
  const entries = Object.entries(row as Record<string, string | number | null>);
  return Object.fromEntries(entries.map(([name, one]) => [name, one === null ? null : `${one}`]));
}
