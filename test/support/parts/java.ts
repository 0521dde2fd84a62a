import { requireTool } from './tools.ts';
import { VERSIONS } from './versions.ts';
import { archiveOf, jarsOf } from './maven.ts';
import { join } from 'node:path';

/** The jars of broker, Connect worker, their tools and a logger, in one folder. */
function kafkaJars(): Promise<string> {
  const { kafka, scala, slf4j } = VERSIONS;
  return jarsOf(`kafka-${kafka}`, [
    `org.apache.kafka:kafka_${scala}:${kafka}`,
    `org.apache.kafka:connect-runtime:${kafka}`,
    `org.apache.kafka:connect-json:${kafka}`,
    `org.apache.kafka:kafka-tools:${kafka}`,
    `org.slf4j:slf4j-simple:${slf4j}`,
  ]);
}

/** The registry's runnable jar. */
export async function registryJar(): Promise<string> {
  const { registry } = VERSIONS;
  const folder = await archiveOf(
    `apicurio-registry-${registry}`,
    `io.apicurio:apicurio-registry-app:${registry}:tar.gz:all`,
  );
  return join(folder, `apicurio-registry-app-${registry}-runner.jar`);
}

/** How to run a class of `kafkaJars`. */
export async function javaCommand(options: {
  readonly neededFor: string;
  readonly mainClass: string;
  readonly args: readonly string[];
  readonly heapMb: number;
  readonly javaOptions?: readonly string[];
}): Promise<{ readonly command: string; readonly args: string[] }> {
  const command = requireTool('java', options.neededFor);
  const jars = await kafkaJars();
  const args = [
    ...[`-Xmx${String(options.heapMb)}m`, '-XX:+UseSerialGC', '-Djava.awt.headless=true'],
    // Without a locale Java takes all for ASCII: the binlog connectors then pass over the rows of
    // tables whose names are not.
    '-Dfile.encoding=UTF-8',
    '-Dorg.slf4j.simpleLogger.showDateTime=true',
    '-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS',
    ...(options.javaOptions ?? []),
    ...['-cp', join(jars, '*'), options.mainClass, ...options.args],
  ];
  return { command, args };
}

/** A Java properties file's text. */
export function properties(settings: Readonly<Record<string, string>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name}=${value.replaceAll('\\', '\\\\')}\n`)
    .join('');
}
