import { join } from 'node:path';
import { IMAGES } from './parts/containers.ts';
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
  image: IMAGES.mysql,
  async packages() {
    const packages = await debianServer('mysql-server-core', 'unstable');
    if (Number.parseFloat(packages.version) >= OLDEST) return packages;
    throw new Error(`MySQL ${packages.version} is older than ${String(OLDEST)}`);
  },
  program: 'usr/sbin/mysqld',
  flags: ['--mysqlx=OFF', '--gtid-mode=ON', '--enforce-gtid-consistency=ON'],
  places: ({ root }) => places(root),
  async initialise({ root, command }, dataDir) {
    const { command: loader, args } = command('usr/sbin/mysqld');
    await runCommand(loader, [
      ...[...args, '--no-defaults', '--initialize-insecure', `--datadir=${dataDir}`],
      ...[...places(root), ...RUN_AS],
    ]);
  },
};

/** Starts the MySQL of Debian unstable, at least 8.4; `version` says which one it is. */
export function startMySQL(options: MySqlOptions = {}): Promise<MySqlServer> {
  return startMySqlServer(MYSQL, options);
}
