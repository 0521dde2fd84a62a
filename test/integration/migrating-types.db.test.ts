/** Migrations on PostgreSQL that swap a type for another one of its name, and what is left acting on what is applied. */
import { describe, expect, it } from 'vitest';
import { letMigrate } from '../../src/dialect/migrating.ts';
import { put } from './mysql.fixture.ts';
import { anyRollout, type AnyRollout } from './rollout.fixture.ts';

type Migrate = (sql: string) => Promise<void>;

const WAYS: readonly (readonly [string, (at: AnyRollout) => Promise<Migrate>])[] = [
  [
    'led',
    (at) =>
      Promise.resolve(async (sql) => {
        const { migrations } = at.database;
        const { url } = await migrations.begin(at.fence, { role: at.role, renames: [] });
        await at.as(url, sql);
        await migrations.end(at.fence);
      }),
  ],
  [
    'of its own',
    async (at) => {
      await letMigrate(at.database, at.fence, at.role);
      return at.run;
    },
  ],
];

describe.each(WAYS)('a migration that is %s', (_, open) => {
  it('may give a column another enum by the name of the one before', async () => {
    const at = await anyRollout(
      'postgresql',
      `CREATE TYPE mood AS ENUM ('bad', 'good')`,
      'CREATE TABLE felt (id int PRIMARY KEY, how mood, why text)',
    );
    const migrate = await open(at);
    const felt = (id: string, how: string) =>
      at.step('felt', put(['id'], { id, how, why: 'theirs' }));
    await at.apply(felt('1', 'good'), felt('2', 'bad'));
    await at.run(`UPDATE felt SET how = 'good' WHERE id = 2`);
    await migrate(`CREATE TYPE mood_new AS ENUM ('bad', 'good', 'great');
      ALTER TABLE felt ALTER how TYPE mood_new USING how::text::mood_new;
      ALTER TYPE mood RENAME TO mood_old; ALTER TYPE mood_new RENAME TO mood`);
    await at.apply(felt('3', 'good'));
    await at.run(`UPDATE felt SET how = 'great' WHERE id = 1`);
    await at.apply(felt('1', 'bad'));
    expect(await at.production('felt', 'id, how::text')).toEqual([
      [1, 'bad'],
      [2, 'bad'],
      [3, 'good'],
    ]);
    expect(await at.rows('SELECT id, how::text FROM felt ORDER BY id')).toEqual([
      [1, 'great'],
      [2, 'good'],
      [3, 'good'],
    ]);
    const found = await at.database.overlayRows(9);
    expect(found.map(({ key, kind }) => `${key.join('/')} ${kind}`).toSorted()).toEqual([
      ...['1 update', '2 update'],
    ]);
  });

  it('leaves no rule acting on what is applied', async () => {
    const at = await anyRollout('postgresql', 'CREATE TABLE t (id int PRIMARY KEY, v text)');
    const migrate = await open(at);
    await migrate(`CREATE RULE quiet AS ON INSERT TO t DO INSTEAD NOTHING;
      ALTER TABLE t ENABLE ALWAYS RULE quiet`);
    await at.apply(at.step('t', put(['id'], { id: '1', v: 'a' })));
    expect(await at.rows('SELECT id FROM t')).toEqual([[1]]);
  });
});

it('a migration that a candidate ran by itself ends beside who reads', async () => {
  const at = await anyRollout('postgresql', 'CREATE TABLE t (id int PRIMARY KEY, v text)');
  await letMigrate(at.database, at.fence, at.role);
  await at.run('ALTER TABLE t ADD COLUMN w int');
  const reader = await at.session();
  await reader('BEGIN');
  await reader('SELECT * FROM t');
  await at.apply(at.step('t', put(['id'], { id: '1', v: 'a' })));
  expect(await at.production('t', 'id, v')).toEqual([[1, 'a']]);
});
