import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  RUN_AS,
  startMySqlServer,
  type MySqlFlavor,
  type MySqlOptions,
  type MySqlServer,
} from './mysql-server.ts';
import { IMAGES } from './parts/containers.ts';
import { debianServer } from './parts/debian.ts';
import { runCommand } from './process/run-command.ts';

/** What `mariadb-install-db` feeds to the server, without the help texts. */
const SYSTEM_SCRIPTS = [
  'mysql_system_tables.sql',
  'mysql_performance_tables.sql',
  'mysql_system_tables_data.sql',
  'maria_add_gis_sp_bootstrap.sql',
  'mysql_sys_schema.sql',
];

function places(root: string): readonly string[] {
  return [
    `--lc-messages-dir=${join(root, 'usr/share/mysql')}`,
    `--character-sets-dir=${join(root, 'usr/share/mysql/charsets')}`,
    `--plugin-dir=${join(root, 'usr/lib/mysql/plugin')}`,
  ];
}

const MARIADB: MySqlFlavor = {
  name: 'MariaDB',
  image: IMAGES.mariadb,
  packages: () => debianServer('mariadb-server-core', 'bookworm'),
  program: 'usr/sbin/mariadbd',
  // The last: from 11.6.2 on it is ON by default, with which no rollout is made.
  flags: [
    ...['--gtid-strict-mode=ON', '--gtid-domain-id=0'],
    '--loose-innodb-snapshot-isolation=OFF',
  ],
  places: ({ root }) => places(root),
  async initialise({ root, command }, dataDir) {
    const scripts = SYSTEM_SCRIPTS.map((name) =>
      readFile(join(root, 'usr/share/mysql', name), 'utf8'),
    );
    const { command: loader, args } = command('usr/sbin/mariadbd');
    await runCommand(
      loader,
      [
        ...[...args, '--no-defaults', '--bootstrap', `--datadir=${dataDir}`, ...places(root)],
        `--tmpdir=${dirname(dataDir)}`,
        ...['--log-warnings=0', '--enforce-storage-engine=', '--max-allowed-packet=8M', ...RUN_AS],
      ],
      {
        input: [
          // The bootstrapping server takes one statement a line.
          ...['CREATE DATABASE mysql;', 'USE mysql;', 'SET @auth_root_socket = NULL;'],
          ...(await Promise.all(scripts)),
        ].join('\n'),
      },
    );
  },
};

/** Starts the MariaDB of Debian 12 (10.11); `version` says which one exactly. */
export function startMariaDB(options: MySqlOptions = {}): Promise<MySqlServer> {
  return startMySqlServer(MARIADB, options);
}
