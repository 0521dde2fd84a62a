import { join } from 'node:path';
import { debianServer } from './parts/debian.ts';
import {
  RUN_AS,
  startMySqlServer,
  type MySqlFlavor,
  type MySqlOptions,
  type MySqlServer,
} from './mysql-server.ts';
import { runCommand } from './process/run-command.ts';

const OLDEST = 8.4;

function places(root: string): readonly string[] {
  return [
    `--lc-messages-dir=${join(root, 'usr/share/mysql')}`,
    `--character-sets-dir=${join(root, 'usr/share/mysql/charsets')}`,
    `--plugin-dir=${join(root, 'usr/lib/mysql/plugin')}`,
  ];
}

const MYSQL: MySqlFlavor = {
  name: 'MySQL',
  program: 'usr/sbin/mysqld',
  flags: ({ root }) => [
    ...places(root),
    ...['--mysqlx=OFF', '--gtid-mode=ON', '--enforce-gtid-consistency=ON'],
  ],
  async initialise({ root, command }, dataDir) {
    const { command: loader, args } = command('usr/sbin/mysqld');
    await runCommand(loader, [
      ...[...args, '--no-defaults', '--initialize-insecure', `--datadir=${dataDir}`],
      ...[...places(root), ...RUN_AS],
    ]);
  },
};

/** Starts the MySQL of Debian unstable, at least 8.4; `version` says which one it is. */
export async function startMySQL(options: MySqlOptions = {}): Promise<MySqlServer> {
  const packages = await debianServer('mysql-server-core', 'unstable');
  if (Number.parseFloat(packages.version) < OLDEST) {
    throw new Error(`MySQL ${packages.version} is older than ${String(OLDEST)}`);
  }
  return startMySqlServer(MYSQL, packages, options);
}
