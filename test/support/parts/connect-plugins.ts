import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { runCommand } from '../process/run-command.ts';
import { cachedPart } from './cache.ts';
import { javaCommand } from './java.ts';
import { archiveOf, jarsOf } from './maven.ts';
import { VERSIONS } from './versions.ts';

async function pluginFolders(): Promise<readonly string[]> {
  const { debezium, debeziumMariadb, avroConverter } = VERSIONS;
  const versions = [
    ['postgres', debezium],
    ['mysql', debezium],
    ['jdbc', debezium],
    ['mariadb', debeziumMariadb],
  ] as const;
  const folders: string[] = [];
  // One after the other: two Maven processes must not write one local repository.
  for (const [name, version] of versions) {
    const key = `debezium-connector-${name}-${version}`;
    const artifact = `io.debezium:debezium-connector-${name}:${version}:tar.gz:plugin`;
    folders.push(join(await archiveOf(key, artifact), `debezium-connector-${name}`));
  }
  const converter = 'apicurio-registry-utils-converter';
  folders.push(
    await jarsOf(`${converter}-${avroConverter}`, [`io.apicurio:${converter}:${avroConverter}`]),
  );
  return folders;
}

/**
 * Connect's `plugin.path` with Debezium's source connectors, its JDBC sink and the Avro converter.
 *
 * The converter has no service manifest. Instead of letting every worker scan all jars (15 s),
 * Kafka's own tool writes the manifests once, so that workers start with
 * `plugin.discovery=service_load`.
 */
export async function connectPlugins(): Promise<string> {
  const { debezium, debeziumMariadb, avroConverter } = VERSIONS;
  return cachedPart(`plugins-${debezium}-${debeziumMariadb}-${avroConverter}`, async (folder) => {
    for (const plugin of await pluginFolders()) {
      const name = plugin.split('/').at(-1) ?? 'plugin';
      await cp(plugin, join(folder, name), { recursive: true });
    }
    const { command, args } = await javaCommand({
      neededFor: "Connect's plugins",
      mainClass: 'org.apache.kafka.tools.ConnectPluginPath',
      args: ['sync-manifests', '--plugin-path', folder],
      heapMb: 512,
    });
    await runCommand(command, args);
  });
}
