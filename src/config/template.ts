import { createHash } from 'node:crypto';
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
  readonly format: RecordFormat;
  /** Where Avro's schemas are, as understudy and Kafka Connect reach it. Ignored for JSON. */
  readonly registryUrl: string;
}

export type RecordFormat = 'json' | 'avro';
/** The first is the default. */
export const FORMATS = ['json', 'avro'] as const satisfies RecordFormat[];

/** The text of a configuration file that loads as it is. */
export function configTemplate(answers: TemplateAnswers): string {
  const text = JSON.stringify; // JSON strings are YAML strings
  const production =
    answers.production === null
      ? '# production: { url: "${PRODUCTION_URL}" }   # for the schema, drift checks and repairs\n'
      : `production: { url: ${text(answers.production)} }\n`;
  const shadow =
    answers.shadow === 'embedded'
      ? 'shadow: embedded\n'
      : `shadow: { url: ${text(answers.shadow)} }\n`;
  const registry =
    answers.format === 'json' ? '' : `  schemaRegistry: { url: ${text(answers.registryUrl)} }\n`;
  return `# understudy: see the README for every key. Secrets: \${NAME} or \${file:PATH}.
source:
  connector: ${answers.connector}
  topicPrefix: ${text(answers.topicPrefix)}
  kafka: { brokers: [${answers.brokers.map((broker) => text(broker)).join(', ')}] }
  connect: { url: ${text(answers.connectUrl)}, name: ${text(answers.connectorName)} }
${registry}${production}${shadow}trunk:
  name: ${text(answers.trunk)}
  schema: ${answers.production === null ? 'events' : 'production'}   # production | events | path of an SQL file
consistency: transaction            # needs provide.transaction.metadata in the connector
tables:
  include: ["*.*"]
  exclude: []
`;
}

/** Settings of the JSON converters, which others do not know. */
const JSON_ONLY = /^(key|value)\.converter\.(schemas\.enable|replace\.null\.with\.default)$/;

/**
 * What Avro wants instead of JSON's settings: NULL kept apart from a DEFAULT, and names that Avro
 * does not allow escaped so that they can be told from each other. Confluent's converter: the one of
 * Apicurio 2.6 takes no notice of `ignore.default.for.nullables`.
 */
const avroSettings = (registryUrl: string): Readonly<Record<string, string>> => ({
  'key.converter': 'io.confluent.connect.avro.AvroConverter',
  'key.converter.schema.registry.url': registryUrl,
  'value.converter': 'io.confluent.connect.avro.AvroConverter',
  'value.converter.schema.registry.url': registryUrl,
  'value.converter.ignore.default.for.nullables': 'true',
  'schema.name.adjustment.mode': 'avro_unicode',
  'field.name.adjustment.mode': 'avro_unicode',
});

/**
 * A Debezium connector configuration with the settings understudy wants, as Kafka Connect's
 * `POST /connectors` takes it: `connectors/`, with the answers filled in. The password stays a
 * placeholder.
 *
 * Why it is as it is, where there was a choice. PostgreSQL's decimals are strings: only so NaN and
 * infinities, the zeros at the end of a numeric without scale, and the difference between an
 * unchanged large numeric and NULL come through. Elsewhere they are precise, since those values do
 * not exist there and unsigned 64-bit integers are precise likewise. Intervals are strings, for
 * months are no number of microseconds. Times are `adaptive`: microseconds, and the rest smaller.
 */
export async function connectorTemplate(
  answers: Pick<
    TemplateAnswers,
    | 'connector'
    | 'topicPrefix'
    | 'connectorName'
    | 'brokers'
    | 'production'
    | 'format'
    | 'registryUrl'
  >,
): Promise<string> {
  const file = { postgresql: 'postgres', mysql: 'mysql', mariadb: 'mariadb' }[answers.connector];
  const text = await readFile(new URL(`../../connectors/${file}.json`, import.meta.url), 'utf8');
  const { config } = JSON.parse(text) as { config: Readonly<Record<string, string>> };
  const filled = {
    ...config,
    ...addressOf(answers),
    ...namesOf(config, answers),
    'topic.prefix': answers.topicPrefix,
    // A prefix may have dots.
    'topic.creation.transaction.include': `${answers.topicPrefix.replaceAll(/[^\w-]/g, '\\$&')}\\.transaction`,
  };
  const written = answers.format === 'json' ? filled : inAvro(filled, answers.registryUrl);
  return `${JSON.stringify({ name: answers.connectorName, config: written }, null, 2)}\n`;
}

/** Where production is, as its address says it. */
function addressOf({
  connector,
  production,
}: Pick<TemplateAnswers, 'connector' | 'production'>): Readonly<Record<string, string>> {
  if (production === null || !URL.canParse(production)) return {};
  const { hostname, port, username, pathname } = new URL(production);
  const database = decodeURIComponent(pathname.slice(1));
  const name = connector === 'postgresql' ? 'database.dbname' : 'database.include.list';
  return {
    ...(hostname !== '' && { 'database.hostname': hostname }),
    ...(port !== '' && { 'database.port': port }),
    ...(username !== '' && { 'database.user': decodeURIComponent(username) }),
    ...(database !== '' && { [name]: database }),
  };
}

/**
 * An identity among all who read a server's binlog, the same for the same topics. Out of the way of
 * small numbers, which people give to servers.
 */
function serverId(topicPrefix: string): string {
  const hash = createHash('sha256').update(topicPrefix).digest().readUInt32BE(0);
  return String(1_000_000 + (hash % 4_000_000_000));
}

/** What must not be shared with another connector, named after the topics. */
function namesOf(
  config: Readonly<Record<string, string>>,
  { topicPrefix, brokers }: Pick<TemplateAnswers, 'topicPrefix' | 'brokers'>,
): Readonly<Record<string, string>> {
  const history = 'schema.history.internal.kafka';
  if (`${history}.topic` in config) {
    return {
      [`${history}.topic`]: `${topicPrefix}.schema-history`,
      [`${history}.bootstrap.servers`]: brokers.join(','),
      'database.server.id': serverId(topicPrefix),
    };
  }
  // A slot's name has few characters to choose from.
  const slot = `debezium_${topicPrefix.toLowerCase().replaceAll(/[^a-z0-9_]/g, '_')}`.slice(0, 63);
  return { 'slot.name': slot, 'publication.name': slot };
}

function inAvro(
  config: Readonly<Record<string, string>>,
  registryUrl: string,
): Readonly<Record<string, string>> {
  const kept = Object.entries(config).filter(([setting]) => !JSON_ONLY.test(setting));
  return { ...Object.fromEntries(kept), ...avroSettings(registryUrl) };
}
