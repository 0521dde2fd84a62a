/**
 * The configuration file as one schema: types, defaults and the words that `init` writes and the
 * documentation shows. Unknown keys are errors: a key that does nothing is a promise broken.
 */
import { z } from 'zod';
import { dataKey } from './data-key.ts';
import { Secret } from './secret.ts';

const secret = z
  .string()
  .min(1)
  .transform((value) => new Secret(value));

const triggerPattern = z
  .string()
  .regex(/^[^.]+\.[^.]+\.[^.]+$/, 'expected `schema.table.trigger`, with * for any characters');

const tablePattern = z
  .string()
  .regex(/^[^.]+\.[^.]+$/, 'expected `schema.table`, with * for any characters');

const tablePolicy = z.enum(['overlay-wins', 'source-wins', 'merge']);

/**
 * What a rollout does with a table:
 * - `follow`: production's changes come in, the candidate may write
 * - `isolate`, `freeze`: production's changes go to its image alone; the candidate sees the rows as they were
 *   when it was made, and what it wrote. One mechanism under two words: of queues, and of data that a test counts on
 * - `readonly`: production's changes come in, and the candidate's writes are refused
 * - `exclude`: it is not followed at all, as by `tables.exclude`
 */
const tableMode = z.enum(['follow', 'isolate', 'freeze', 'readonly', 'exclude']);
export type TableMode = z.output<typeof tableMode>;

const tableRule = z.strictObject({
  match: tablePattern,
  mode: tableMode.optional(),
  policy: tablePolicy.optional(),
  /** Columns by which rows of both sides are the same thing, under keys of their own. */
  pairOn: z.array(z.string().min(1)).min(1).optional(),
  columns: z
    .record(z.string(), z.enum(['overlay-wins', 'source-wins', 'merge', 'delta']))
    .optional(),
});

const kafka = z
  .looseObject({
    brokers: z.array(z.string().min(1)).min(1).describe('host:port of the brokers'),
  })
  .describe('ssl, sasl, clientId and further options are passed on as kafkajs names them');

const schemaRegistry = z
  .strictObject({
    url: secret.describe('address below which schemas are, with user:password if it asks for them'),
    api: z
      .enum(['confluent', 'apicurio'])
      .default('confluent')
      .describe('whose REST interface and wire format'),
    ids: z
      .enum(['contentId', 'globalId'])
      .default('contentId')
      .describe('of Apicurio: what the id before a record is'),
    idBytes: z
      .union([z.literal(4), z.literal(8)])
      .default(4)
      .describe('of Apicurio: bytes of that id'),
  })
  .refine(({ url }) => isHttp(url.reveal()), {
    path: ['url'],
    message: 'expected an address with http: or https:',
  })
  .refine(({ api, ids, idBytes }) => api === 'apicurio' || (ids === 'contentId' && idBytes === 4), {
    message: 'ids and idBytes are for api: apicurio',
  });

function isHttp(text: string): boolean {
  const url = URL.parse(text);
  return url !== null && ['http:', 'https:'].includes(url.protocol);
}

const policy = z.enum(['apply', 'hold', 'fail']);

/** By default what cannot lose data is applied, and the rest waits for a person to look at it. */
const evolution = z.strictObject({
  add: policy
    .default('apply')
    .describe('a new column in production: add it, let the table wait, or stop'),
  widen: policy
    .default('apply')
    .describe('a column holds more than before: longer text, more digits, or NULL'),
  enumValue: policy.default('apply').describe('an enum has more labels'),
  newTable: z
    .enum(['apply', 'fail'])
    .default('apply')
    .describe('a table that is new among those followed'),
  renameTable: policy
    .default('apply')
    .describe('a table with another name: rename it, let it wait, or stop'),
  drop: policy.default('hold').describe('a column that production has no more'),
  rename: policy.default('hold').describe('a column with another name'),
  retype: policy.default('hold').describe('a column of a type that is not wider'),
  key: policy.default('hold').describe('a table whose rows other columns identify'),
  droppedTable: policy
    .default('hold')
    .describe('a table that production has no more: drop it, keep it and say so, or stop'),
});

const source = z
  .strictObject({
    connector: z
      .enum(['postgresql', 'mysql', 'mariadb'])
      .default('postgresql')
      .describe('kind of production; the shadow server is of the same kind'),
    topicPrefix: z.string().min(1).describe('topic.prefix of the Debezium connector'),
    form: z
      .enum(['debezium', 'flat', 'cloudevents'])
      .default('debezium')
      .describe('of the changes: as Debezium makes them, ExtractNewRecordState, or CloudEvents'),
    signalTable: tablePattern
      .optional()
      .describe('its signal.data.collection, `schema.table`: the connector’s, not followed'),
    kafka: kafka.optional(),
    recording: z.string().min(1).optional().describe('a file made by `understudy record`'),
    pace: z
      .union([z.enum(['full', 'recorded']), z.number().positive()])
      .default('full')
      .describe('of a recording: full speed, as it was recorded, or that many times faster'),
    connect: z
      .strictObject({
        url: z.url().describe('Kafka Connect’s REST address'),
        name: z.string().min(1).describe('the connector’s name in Kafka Connect'),
      })
      .optional()
      .describe(
        'drift checks and repairs need it or the offsets topic; modes and doctor come from the connector’s settings',
      ),
    offsetsTopic: z
      .string()
      .min(1)
      .optional()
      .describe('Connect’s offset.storage.topic, where its REST address cannot be reached'),
    extraTopics: z
      .array(z.string().min(1))
      .default([])
      .describe('patterns (regular expressions) of topics that a routing transform renamed'),
    schemaRegistry: schemaRegistry
      .optional()
      .describe('where the schemas of Avro records are; without it, records are JSON'),
    modes: z
      .strictObject({
        time: z
          .enum([
            'adaptive',
            'adaptive_time_microseconds',
            'connect',
            'isostring',
            'microseconds',
            'nanoseconds',
          ])
          .optional()
          .describe('its time.precision.mode'),
        decimal: z
          .enum(['precise', 'double', 'string'])
          .optional()
          .describe('its decimal.handling.mode'),
        bigintUnsigned: z
          .enum(['long', 'precise'])
          .optional()
          .describe('its bigint.unsigned.handling.mode (MySQL, MariaDB)'),
        binary: z
          .enum(['bytes', 'base64', 'base64-url-safe', 'hex'])
          .optional()
          .describe('its binary.handling.mode'),
        hstore: z.enum(['json', 'map']).optional().describe('its hstore.handling.mode'),
        interval: z.enum(['numeric', 'string']).optional().describe('its interval.handling.mode'),
        names: z
          .enum(['none', 'avro', 'avro_unicode'])
          .optional()
          .describe('its field.name.adjustment.mode, where it is not none'),
        deletes: z
          .enum(['drop', 'tombstone', 'rewrite', 'rewrite-with-tombstone', 'delete-to-tombstone'])
          .optional()
          .describe('of form flat: its transform’s delete.tombstone.handling.mode'),
      })
      .default({})
      .describe(
        'how the connector writes values; needed for JSON without schemas where source.connect is not set',
      ),
  })
  .refine((value) => (value.kafka === undefined) !== (value.recording === undefined), {
    message: 'exactly one of source.kafka and source.recording must be given',
  });

/** Which connectors a database's URL scheme, or the embedded server, goes with. */
const CONNECTORS_BY_SCHEME: Readonly<Record<string, readonly string[]>> = {
  'postgres:': ['postgresql'],
  'postgresql:': ['postgresql'],
  'mysql:': ['mysql', 'mariadb'],
  'mariadb:': ['mysql', 'mariadb'],
};

/** True where a URL's scheme is unknown: whoever opens it says so better. */
function goesWith(connector: string, url: Secret): boolean {
  const scheme = URL.parse(url.reveal())?.protocol ?? '';
  return CONNECTORS_BY_SCHEME[scheme]?.includes(connector) ?? true;
}

const fields = z.strictObject({
  source,
  production: z
    .strictObject({ url: secret.describe('an account that may SELECT; nothing is written there') })
    .optional()
    .describe('for the schema, drift checks and repairs'),
  shadow: z.union([
    z
      .literal('embedded')
      .describe('a PostgreSQL from npm, kept in `.understudy/` beside this file'),
    z.strictObject({
      url: secret.describe(
        'an account that may make databases and roles; never production’s server',
      ),
      restoredBackup: z
        .boolean()
        .default(false)
        .describe('the shadow server was restored from a physical backup of production'),
    }),
  ]),
  trunk: z
    .strictObject({
      name: z
        .string()
        .regex(/^[a-z_][a-z0-9_]{0,39}$/, 'expected lower case letters, digits and _, at most 40')
        .default('shop')
        .describe('name of the database that only follows production'),
      schema: z
        .string()
        .min(1)
        .default('production')
        .describe('`production`, `events`, or the path of an SQL file'),
      bootstrap: z
        .enum(['events', 'production', 'backup'])
        .default('events')
        .describe(
          'whence a new trunk gets its rows: from the topics’ start, by a pinned copy, or from a backup that you restored into it',
        ),
      backupPosition: z
        .string()
        .min(1)
        .optional()
        .describe(
          'of that backup: an LSN (of a dump, with its snapshot), a place of the binlog as `FILE:POS`, GTIDs, or both',
        ),
      bootstrapJobs: z
        .int()
        .min(1)
        .max(64)
        .default(4)
        .describe('sessions on production, and on the shadow, that copy at the same time'),
    })
    .refine(
      ({ bootstrap, backupPosition }) => bootstrap !== 'backup' || backupPosition !== undefined,
      { path: ['backupPosition'], message: 'trunk.bootstrap: backup needs the backup’s position' },
    )
    .prefault({}),
  consistency: z
    .enum(['transaction', 'key'])
    .default('transaction')
    .describe('what stays whole: source transactions, or only the order per key'),
  tables: z
    .strictObject({
      include: z
        .array(tablePattern)
        .default(['*.*'])
        .describe('tables to follow, as `schema.table`; * is any text'),
      exclude: z.array(tablePattern).default([]).describe('of these, tables to leave out'),
      rules: z
        .array(tableRule)
        .default([])
        .describe(
          'what rollouts do with them: `{ match, mode, policy, columns, pairOn }`, see below; of several the last counts',
        ),
    })
    .prefault({}),
  apply: z
    .strictObject({
      batchEvents: z
        .int()
        .min(1)
        .max(1_000_000)
        .default(20_000)
        .describe('most events between two commits'),
      batchBytes: z
        .int()
        .min(1024)
        .default(4 * 1024 * 1024)
        .describe('most bytes between two commits'),
      budgetBytes: z
        .int()
        .min(1024 * 1024)
        .default(16 * 1024 * 1024)
        .describe('bytes read ahead per database'),
      maxRecordBytes: z
        .int()
        .min(1024)
        .max(512 * 1024 * 1024)
        .default(64 * 1024 * 1024)
        .describe('larger records are not parsed: they are set aside, or stop who follows'),
      stallLimitSeconds: z
        .number()
        .min(1)
        .default(60)
        .describe('how long an incomplete source transaction may hold back what follows'),
      leaseSeconds: z
        .number()
        .min(1)
        .default(10)
        .describe('how long a silent holder keeps a database before a stand-by takes it'),
    })
    .prefault({}),
  overlay: z
    .strictObject({
      applyDelaySeconds: z
        .number()
        .min(0)
        .max(3600)
        .default(0)
        .describe(
          'how long production’s events wait before they reach a rollout: longer than a mirrored request takes',
        ),
      policy: tablePolicy
        .default('overlay-wins')
        .describe('who wins where production changes a row that the candidate wrote'),
      sweepSeconds: z
        .number()
        .min(1)
        .default(60)
        .describe('how often a rollout’s rows are looked for that are production’s again'),
      outcomeDays: z
        .number()
        .min(1)
        .default(30)
        .describe('how long it is remembered that they were, or were put back'),
      isolate: z
        .array(tablePattern)
        .default([])
        .describe('tables that rollouts keep to themselves, as patterns: queues, outboxes'),
      applierTriggers: z
        .array(triggerPattern)
        .default([])
        .describe(
          'triggers of rollouts that act on what production changed, too, as patterns `schema.table.trigger`',
        ),
    })
    .prefault({}),
  evolution: evolution.prefault({}),
  deadLetters: z
    .strictObject({
      max: z
        .int()
        .min(0)
        .default(100)
        .describe(
          'rows that may be set aside, because they are refused or cannot be read, before it stops; 0: none',
        ),
      topic: z
        .string()
        .regex(/^[A-Za-z0-9._-]{1,249}$/)
        .optional()
        .describe('Kafka topic that is told of each row set aside, once at least; default: none'),
      encryptionKey: secret
        .refine((key) => dataKey(key.reveal()) !== null, {
          message: 'expected 32 bytes, as 64 hexadecimal digits or in base64',
        })
        .optional()
        .describe(
          '32 bytes (hexadecimal or base64): records set aside are kept in the shadow, encrypted; default: only their places',
        ),
    })
    .prefault({}),
});

export const configSchema = fields
  .refine(
    ({ source: { connector }, shadow }) =>
      shadow === 'embedded' ? connector === 'postgresql' : goesWith(connector, shadow.url),
    {
      path: ['shadow'],
      message: 'expected a server of source.connector’s kind; the embedded one is a PostgreSQL',
    },
  )
  .refine(
    ({ source: { connector }, production }) =>
      production === undefined || goesWith(connector, production.url),
    { path: ['production', 'url'], message: 'expected a database of source.connector’s kind' },
  );

/** The configuration with all defaults filled in. Paths are absolute. */
export type Config = z.output<typeof configSchema> & {
  /** Folder of the configuration file; `.understudy/` lies in it. */
  readonly directory: string;
};

export type SourceConfig = Config['source'];
