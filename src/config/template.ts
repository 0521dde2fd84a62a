import { readFile } from 'node:fs/promises';
import type { SourceConfig } from './schema.ts';

export type ConnectorName = SourceConfig['connector'];
/** The first is the default. */
export const CONNECTORS = ['postgresql', 'mysql', 'mariadb'] as const satisfies ConnectorName[];

/** For the help of `init`. */
export const INIT_EXAMPLE = `  $ understudy init --topic-prefix prod --brokers kafka:9092 \\
      --production 'postgres://reader:\${PGPASSWORD}@db/shop' \\
      --shadow 'postgres://understudy@shadow/postgres'`;

/** What `init` asks for; everything else gets a working default. */
export interface TemplateAnswers {
  readonly connector: ConnectorName;
  readonly topicPrefix: string;
  readonly brokers: readonly string[];
  readonly connectUrl: string;
  readonly connectorName: string;
  /** Address of production, or null to leave it out. */
  readonly production: string | null;
  /** Address of the shadow server, or `embedded`. */
  readonly shadow: string;
  readonly trunk: string;
}

/** The text of a configuration file that loads as it is. */
export function configTemplate(answers: TemplateAnswers): string {
  const text = JSON.stringify; // JSON strings are YAML strings
  const production =
    answers.production === null
      ? '# production: { url: "${PRODUCTION_URL}" }   # for the schema and for drift checks\n'
      : `production: { url: ${text(answers.production)} }\n`;
  const shadow =
    answers.shadow === 'embedded'
      ? 'shadow: embedded\n'
      : `shadow: { url: ${text(answers.shadow)} }\n`;
  return `# understudy: see the README for every key. Secrets: \${NAME} or \${file:PATH}.
source:
  connector: ${answers.connector}
  topicPrefix: ${text(answers.topicPrefix)}
  kafka: { brokers: [${answers.brokers.map((broker) => text(broker)).join(', ')}] }
  connect: { url: ${text(answers.connectUrl)}, name: ${text(answers.connectorName)} }
${production}${shadow}trunk:
  name: ${text(answers.trunk)}
  schema: ${answers.production === null ? 'events' : 'production'}   # production | events | path of an SQL file
consistency: transaction            # needs provide.transaction.metadata in the connector
tables:
  include: ["*.*"]
  exclude: []
`;
}

/**
 * A Debezium connector configuration with the settings understudy wants, as Kafka Connect's
 * `POST /connectors` takes it. Credentials are left as placeholders.
 */
export async function connectorTemplate(
  answers: Pick<TemplateAnswers, 'connector' | 'topicPrefix' | 'connectorName'>,
): Promise<string> {
  const file = { postgresql: 'postgres', mysql: 'mysql', mariadb: 'mariadb' }[answers.connector];
  const text = await readFile(new URL(`../../connectors/${file}.json`, import.meta.url), 'utf8');
  const { config } = JSON.parse(text) as { config: Record<string, unknown> };
  const filled = { ...config, 'topic.prefix': answers.topicPrefix };
  return `${JSON.stringify({ name: answers.connectorName, config: filled }, null, 2)}\n`;
}
