/** Servers of MySQL and MariaDB that no rollout is made or followed on, for everybody may go round it there. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { diagnoseGround } from '../../src/dialect/rollout-ground.ts';
import { startMariaDB } from '../support/mariadb.ts';
import { startMySQL } from '../support/mysql.ts';
import { ENGINES, openTrunk, shadowServer } from './mysql.fixture.ts';

const ITEM = 'CREATE TABLE item (id INT PRIMARY KEY)';

describe.each(ENGINES)('a rollout on %s', (engine) => {
  it('is refused on a server where everybody may go round it, and is not followed there', async () => {
    const own = await (engine === 'mysql' ? startMySQL() : startMariaDB());
    onTestFinished(() => own.stop());
    const server = await shadowServer(own.url);
    const statements = [{ sql: ITEM, what: 'item', optional: false }];
    const tables = [{ schema: 'shop', name: 'item' }];
    const plan = { statements, notCarried: [], tables };
    await server.createTrunk({ name: 'test_shop', topicPrefix: 'p', plan });
    const clone = { from: 'test_shop', to: 'test_shop_next', rolloutName: 'next' };
    const doors: readonly (readonly [open: readonly string[], told: string, cure: string[]])[] = [
      [[`CREATE USER ''@'localhost'`], 'without a name', [`DROP USER ''@'localhost'`]],
      [
        [
          `INSERT INTO mysql.db (Host, Db, User, Drop_priv) VALUES ('%', 'test\\_%', '', 'Y')`,
          'FLUSH PRIVILEGES',
        ],
        'everybody has rights on `test\\_%`',
        [`DELETE FROM mysql.db WHERE User = ''`, 'FLUSH PRIVILEGES'],
      ],
      ...(engine === 'mysql' ? OF_MYSQL : OF_MARIADB),
    ];
    const refused = expect.objectContaining({ code: 'SHADOW_OPEN' }) as unknown;
    for (const [open, told, cure] of doors) {
      await own.execute(open);
      await expect(server.clone(clone), told).rejects.toMatchObject({
        code: 'SHADOW_OPEN',
        message: expect.stringContaining(told) as string,
      });
      expect(await server.open('test_shop_next')).toBeNull();
      expect(await diagnoseGround(server, 'test_shop')).toMatchObject([
        { level: 'error', message: expect.stringContaining(told) as string },
      ]);
      await own.execute(cure);
    }
    // What says nothing of it is left alone.
    await own.execute([
      `INSERT INTO mysql.db (Host, Db, User, Drop_priv) VALUES ('%', 'test_', '', 'Y')`,
      ...['FLUSH PRIVILEGES', 'CREATE ROLE nobody', 'GRANT ALL ON test_shop_next.* TO nobody'],
    ]);
    expect(await diagnoseGround(server, 'test_shop')).toEqual([]);
    await server.clone(clone);
    await own.execute(doors[1]?.[0] ?? []);
    const rollout = await openTrunk(server, 'test_shop_next');
    expect(await rollout.takeFence('test').catch((error: unknown) => error)).toEqual(refused);
    const made = { database: 'test_shop_next', role: 'next', password: 'x' };
    expect(await server.createCandidateRole(made).catch((error: unknown) => error)).toEqual(
      refused,
    );
    await own.execute(doors[1]?.[2] ?? []);
    expect(await rollout.takeFence('test')).not.toBeNull();
  });
});

type Door = readonly [open: readonly string[], told: string, cure: string[]];

const OF_MYSQL: readonly Door[] = [
  [
    [
      ...['CREATE ROLE way, inner_way', 'GRANT inner_way TO way'],
      'GRANT TRIGGER ON `%`.* TO inner_way',
      `SET GLOBAL mandatory_roles = '\`other\`@\`%\`, way'`,
    ],
    'role inner_way, which all accounts have by mandatory_roles, has rights on `%`',
    [`SET GLOBAL mandatory_roles = ''`, 'DROP ROLE way, inner_way'],
  ],
  [
    [
      ...['CREATE ROLE way', 'GRANT CREATE USER, ROLE_ADMIN ON *.* TO way'],
      `SET GLOBAL mandatory_roles = 'way@%'`,
    ],
    'rights on all databases: Create_user, ROLE_ADMIN',
    [`SET GLOBAL mandatory_roles = ''`, 'DROP ROLE way'],
  ],
];

const OF_MARIADB: readonly Door[] = [
  [
    ['GRANT DROP ON `test\\_shop%`.* TO PUBLIC'],
    'PUBLIC has rights on `test\\_shop%`',
    ['REVOKE DROP ON `test\\_shop%`.* FROM PUBLIC'],
  ],
  [
    ['GRANT RELOAD ON *.* TO PUBLIC'],
    'PUBLIC has rights on all databases: Reload',
    ['REVOKE RELOAD ON *.* FROM PUBLIC'],
  ],
  [
    ['CREATE ROLE way', 'GRANT TRIGGER ON test_shop_next.* TO way', 'GRANT way TO PUBLIC'],
    'role way, which PUBLIC has, has rights on `test_shop_next`',
    ['DROP ROLE way'],
  ],
  [
    ['SET GLOBAL innodb_snapshot_isolation = ON'],
    'innodb_snapshot_isolation is ON',
    ['SET GLOBAL innodb_snapshot_isolation = OFF'],
  ],
];
