import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Programs of the machine which the harness needs, and how a Debian machine gets them. */
const CURES = {
  java: 'install Java 17 or later (Debian: apt-get install openjdk-17-jre-headless)',
  mvn: 'install Maven (Debian: apt-get install maven)',
  tar: 'install tar (Debian: apt-get install tar)',
  'apt-get': 'run the tests on Debian or Ubuntu, or use docker/compose.yaml',
  'dpkg-deb': 'run the tests on Debian or Ubuntu, or use docker/compose.yaml',
  mariadbd: 'install MariaDB (Debian: apt-get install mariadb-server)',
  'mariadb-install-db': 'install MariaDB (Debian: apt-get install mariadb-server)',
} as const;

export type Tool = keyof typeof CURES;

/** Where servers lie that are not on an ordinary user's path. */
const FURTHER_FOLDERS = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The program's full path, or undefined if this machine has none. */
function findTool(tool: string): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  return [...folders, ...FURTHER_FOLDERS]
    .map((folder) => join(folder, tool))
    .find((file) => isExecutable(file));
}

/** The program's full path; throws with the cure if it is missing. A test never skips for it. */
export function requireTool(tool: Tool, neededFor: string): string {
  const found = findTool(tool);
  if (found !== undefined) return found;
  throw new Error(`${tool} was not found, but ${neededFor} needs it: ${CURES[tool]}`);
}
