import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Option, type Command } from 'commander';
import {
  configTemplate,
  CONNECTORS,
  connectorTemplate,
  FORMATS,
  INIT_EXAMPLE,
  type ConnectorName,
  type RecordFormat,
} from '../../config/template.ts';
import { UnderstudyError } from '../../errors/understudy-error.ts';
import type { Register } from '../register.ts';
import { printJson, type GlobalOptions } from '../session.ts';

interface Options extends GlobalOptions {
  readonly connector: ConnectorName;
  readonly topicPrefix: string;
  readonly brokers: string;
  readonly connectUrl: string;
  readonly connectorName: string;
  readonly production?: string;
  readonly shadow: string;
  readonly trunk: string;
  readonly format: RecordFormat;
  readonly registryUrl: string;
  readonly force: boolean;
}

export function addInitCommand(program: Command, register: Register): void {
  const command = program
    .command('init')
    .description('write understudy.yaml and the connector configuration')
    .addOption(
      new Option('--connector <kind>', 'kind of production database')
        .choices(CONNECTORS)
        .default(CONNECTORS[0]),
    )
    .option('--topic-prefix <prefix>', 'topic.prefix of the connector', 'prod')
    .option('--brokers <list>', 'Kafka brokers, separated by commas', 'localhost:9092')
    .option('--connect-url <url>', 'Kafka Connect’s REST address', 'http://localhost:8083')
    .option('--connector-name <name>', 'the connector’s name in Kafka Connect', 'prod')
    .option('--production <url>', 'address of production (read only)')
    .option(
      '--shadow <url>',
      'address of the shadow server, of production’s kind, or `embedded`',
      'embedded',
    )
    .option('--trunk <name>', 'name of the trunk database', 'shop')
    .addOption(
      new Option('--format <format>', 'encoding of the records')
        .choices(FORMATS)
        .default(FORMATS[0]),
    )
    .option('--registry-url <url>', 'schema registry, for Avro', 'http://localhost:8081')
    .option('--force', 'overwrite what is there', false)
    .addHelpText('after', `\nExample:\n${INIT_EXAMPLE}`);
  register<Options>(command, async (session, options) => {
    const directory = path.dirname(path.resolve(options.config));
    const connectorFile = path.join(directory, 'connector.json');
    const answers = {
      ...options,
      brokers: options.brokers.split(',').map((broker) => broker.trim()),
      production: options.production ?? null,
    };
    if (options.shadow === 'embedded' && options.connector !== CONNECTORS[0]) {
      throw new UnderstudyError('USAGE', 'the embedded shadow server is of another kind', {
        detail: `--shadow ${options.connector}://… names one of production’s kind`,
      });
    }
    await write(options.config, configTemplate(answers), options.force);
    await write(connectorFile, await connectorTemplate(answers), options.force);
    if (options.json) printJson(session, { config: options.config, connector: connectorFile });
    else {
      session.terminal.out(
        `Wrote ${options.config} and ${path.relative('.', connectorFile)}.\n` +
          'Fill in the connector’s database settings, and look for traps before it starts:\n' +
          '  understudy doctor --connector-file connector.json\n' +
          'Then register it with Kafka Connect:\n' +
          `  curl -X POST -H 'Content-Type: application/json' --data @connector.json ` +
          `${options.connectUrl}/connectors\n` +
          'And look at all of it once more: understudy doctor\n',
      );
    }
    return 0;
  });
}

async function write(file: string, text: string, force: boolean): Promise<void> {
  try {
    await writeFile(file, text, { flag: force ? 'w' : 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') {
      throw new UnderstudyError('USAGE', `${file} exists`, { detail: '--force overwrites it' });
    }
    throw new UnderstudyError('USAGE', `cannot write ${file}`, {}, error);
  }
}
