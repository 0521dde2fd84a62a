import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runCommand } from '../process/run-command.ts';
import { cachedPart } from './cache.ts';
import { requireTool } from './tools.ts';

/** `group:artifact:version[:type[:classifier]]`, the way Maven writes it. */
export type Coordinates = string;

const PLUGIN = 'org.apache.maven.plugins:maven-dependency-plugin';
const COPY_DEPENDENCIES = `${PLUGIN}:3.8.1:copy-dependencies`;
/** Later ones read the artifact's parent pom too; the registry's is not on Central. */
const COPY = `${PLUGIN}:2.10:copy`;

function pom(artifacts: readonly Coordinates[]): string {
  const dependencies = artifacts.map((artifact) => {
    const [group = '', name = '', version = ''] = artifact.split(':');
    return `<dependency><groupId>${group}</groupId><artifactId>${name}</artifactId><version>${version}</version></dependency>`;
  });
  return `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>understudy</groupId><artifactId>test-parts</artifactId><version>1</version>
  <dependencies>${dependencies.join('\n')}</dependencies>
</project>
`;
}

async function maven(neededFor: string, args: readonly string[]): Promise<void> {
  const mvn = requireTool('mvn', neededFor);
  requireTool('java', neededFor);
  try {
    await runCommand(mvn, ['--batch-mode', '--quiet', ...args]);
  } catch (cause) {
    throw new Error(`Maven could not fetch ${neededFor}`, { cause });
  }
}

/** A folder with the jars of these artifacts and of all they depend on. */
export function jarsOf(key: string, artifacts: readonly Coordinates[]): Promise<string> {
  return cachedPart(key, async (folder) => {
    const file = join(folder, 'pom.xml');
    await writeFile(file, pom(artifacts));
    await maven(key, [
      ...['-f', file, COPY_DEPENDENCIES],
      ...[`-DoutputDirectory=${folder}`, '-DincludeScope=runtime'],
    ]);
    await rm(file);
  });
}

/**
 * A folder with the content of one `tar.gz` artifact, without what it depends on (Maven would
 * look for Debezium's optional parts, which are not on Central).
 */
export function archiveOf(key: string, artifact: Coordinates): Promise<string> {
  return cachedPart(key, async (folder) => {
    const tar = requireTool('tar', key);
    const download = join(folder, '.download');
    await mkdir(download);
    await maven(key, [
      ...[COPY, `-Dartifact=${artifact}`, `-DoutputDirectory=${download}`],
      '-Dmdep.stripVersion=true',
    ]);
    const [, name = '', , , classifier = ''] = artifact.split(':');
    const file = join(download, `${name}-${classifier}.tar.gz`);
    await runCommand(tar, ['-xzf', file, '-C', folder]);
    await rm(download, { recursive: true });
  });
}
