/**
 * The registry of error codes. Every failure a person can meet has one entry: its process exit
 * status and whether trying again can help. Codes are stable: scripts may branch on them.
 *
 * Exit statuses are the contract of the command line: 1 findings, 2 inconclusive, 3 usage or
 * configuration, 4 could not connect, pin or fence, 5 interrupted, 6 internal.
 */
export type Retry = 'never' | 'backoff' | 'reconnect';

export interface CodeSpec {
  readonly exit: 1 | 2 | 3 | 4 | 5 | 6;
  readonly retry: Retry;
  /** What the operator can do about it, in one sentence. Appended to the message. */
  readonly cure: string;
}

export const CODES = {
  // usage and configuration
  USAGE: { exit: 3, retry: 'never', cure: 'Run the command with --help for its arguments.' },
  CONFIG_NOT_FOUND: {
    exit: 3,
    retry: 'never',
    cure: 'Write one with `understudy init`, or name it with --config FILE.',
  },
  CONFIG_INVALID: { exit: 3, retry: 'never', cure: 'Correct the key named above.' },
  UNSUPPORTED: { exit: 3, retry: 'never', cure: 'See the README for what this engine offers.' },

  // connections
  KAFKA_UNREACHABLE: {
    exit: 4,
    retry: 'reconnect',
    cure: 'Check source.kafka.brokers, the network, and ssl/sasl settings.',
  },
  KAFKA_TOPICS_MISSING: {
    exit: 4,
    retry: 'backoff',
    cure: 'Check source.topicPrefix against the connector’s topic.prefix and tables.include.',
  },
  SHADOW_UNREACHABLE: {
    exit: 4,
    retry: 'reconnect',
    cure: 'Check shadow.url, and that the server accepts connections, takes writes and has room.',
  },
  SHADOW_REWOUND: {
    exit: 4,
    retry: 'reconnect',
    cure: 'The shadow server lost its last commits (a fail-over, or a crash under asynchronous commit); go on from what it holds by the same command, as `run` does by itself.',
  },
  PRODUCTION_UNREACHABLE: {
    exit: 4,
    retry: 'reconnect',
    cure: 'Check production.url and that the account may SELECT.',
  },
  REGISTRY_UNREACHABLE: {
    exit: 4,
    retry: 'reconnect',
    cure: 'Check source.schemaRegistry.url and that the registry runs.',
  },
  REGISTRY_REFUSED: {
    exit: 4,
    retry: 'never',
    cure: 'Check the account in source.schemaRegistry.url, and the path.',
  },
  CONNECT_UNREACHABLE: {
    exit: 4,
    retry: 'backoff',
    cure: 'Check source.connect.url and source.connect.name.',
  },
  CONNECTOR_MISSING: {
    exit: 4,
    retry: 'backoff',
    cure: 'Register the connector with Kafka Connect, or correct source.connect.name.',
  },
  DATABASE_PERMISSION: {
    exit: 4,
    retry: 'never',
    cure: 'Run `understudy doctor`; it names the missing right.',
  },

  // isolation and ownership
  TARGET_IS_PRODUCTION: {
    exit: 3,
    retry: 'never',
    cure: 'Point shadow.url at a server of your own; understudy never writes to production.',
  },
  TARGET_NOT_OURS: {
    exit: 3,
    retry: 'never',
    cure: 'Choose another trunk.name, or drop the database yourself if it may go.',
  },
  SHADOW_OPEN: {
    exit: 3,
    retry: 'never',
    cure: 'Change the shadow server as it says above, so that no candidate can go round its rollout; `understudy doctor` looks for all of this.',
  },
  TARGET_IN_RECOVERY: { exit: 3, retry: 'never', cure: 'Point shadow.url at a primary server.' },
  SCHEMA_TOO_NEW: {
    exit: 3,
    retry: 'never',
    cure: 'Use the newer understudy that wrote this database.',
  },
  FENCED: {
    exit: 4,
    retry: 'never',
    cure: 'Another understudy follows this database now; nothing was written here.',
  },
  FENCE_HELD: {
    exit: 4,
    retry: 'backoff',
    cure: 'Another understudy holds this database; wait for it or stop it.',
  },

  // the event log
  RECORD_CORRUPT: {
    exit: 6,
    retry: 'never',
    cure: 'Look at the record in Kafka; its position was not passed.',
  },
  RECORD_TOO_LARGE: {
    exit: 6,
    retry: 'never',
    cure: 'Raise apply.maxRecordBytes; then replay, if the record was set aside.',
  },
  RECORD_UNKNOWN: {
    exit: 6,
    retry: 'never',
    cure: 'If the topic does not come from Debezium, exclude it with tables.exclude.',
  },
  TYPE_UNKNOWN: {
    exit: 6,
    retry: 'never',
    cure: 'Exclude the column in the connector, or change the connector’s mode for it.',
  },
  VALUE_UNREADABLE: {
    exit: 6,
    retry: 'never',
    cure: 'Check the connector’s modes; the record’s position was not passed.',
  },
  COLUMN_UNKNOWN: {
    exit: 6,
    retry: 'never',
    cure: 'The shadow’s table lacks this column; bring its schema up to date.',
  },
  TABLE_UNKNOWN: {
    exit: 6,
    retry: 'never',
    cure: 'The shadow lacks this table; create it or exclude it with tables.exclude.',
  },
  SCHEMA_CHANGED: {
    exit: 6,
    retry: 'never',
    cure: 'See `evolution` in the configuration, or bring the shadow’s table to production’s yourself.',
  },
  SCHEMA_UNKNOWN: {
    exit: 6,
    retry: 'never',
    cure: 'Check source.schemaRegistry: its url, api, ids and idBytes; the record was not passed.',
  },
  KEY_MISSING: {
    exit: 6,
    retry: 'never',
    cure: 'Give the table a primary key or REPLICA IDENTITY FULL, or exclude it with tables.exclude.',
  },
  TABLE_IDENTITY: {
    exit: 3,
    retry: 'never',
    cure: 'Set REPLICA IDENTITY FULL (or DEFAULT) on the tables in production, or exclude them with tables.exclude.',
  },
  ROW_INCOMPLETE: {
    exit: 6,
    retry: 'never',
    cure: 'Set REPLICA IDENTITY FULL on the table, or snapshot it again.',
  },
  LOG_GAP: {
    exit: 4,
    retry: 'never',
    cure: 'Kafka no longer has the events after our position: `understudy materialize --refill --until-caught-up` copies the tables concerned anew from production; where that is not configured, fill the whole trunk again with `understudy materialize --anew --until-caught-up`. Make rollouts anew.',
  },
  RECORDING_INVALID: { exit: 3, retry: 'never', cure: 'Record it again with `understudy record`.' },

  PRODUCTION_NOT_FOLLOWED: {
    exit: 3,
    retry: 'never',
    cure: 'Point production.url at the server that the connector reads, or at a replica of it.',
  },

  // repair
  TABLE_NOT_FOLLOWED: {
    exit: 3,
    retry: 'never',
    cure: 'Name a table as production does, like public.orders, that tables.include and exclude let in.',
  },
  TABLE_KEYLESS: {
    exit: 3,
    retry: 'never',
    cure: 'Give the table a primary key in production, or make a new trunk with trunk.bootstrap: production.',
  },
  KEY_MALFORMED: {
    exit: 3,
    retry: 'never',
    cure: 'Give one value for each column of the key, in its order, for each row.',
  },
  SCHEMA_DIFFERS: {
    exit: 3,
    retry: 'never',
    cure: 'Bring the shadow’s table to production’s columns, types and key; `understudy drift check` names them.',
  },
  FOREIGN_KEYS_UNLIKE: {
    exit: 3,
    retry: 'never',
    cure: 'Start the shadow server with production’s innodb_native_foreign_keys, or in a version that logs what foreign keys do as production’s does.',
  },

  // writing
  APPLY_FAILED: {
    exit: 6,
    retry: 'never',
    cure: 'The batch was rolled back and no position was passed; see the database’s message.',
  },
  DEAD_LETTERS_FULL: {
    exit: 6,
    retry: 'never',
    cure: 'See `understudy dead-letters list`; remove the cause and replay, or raise deadLetters.max.',
  },
  SEAL_REFUSED: {
    exit: 3,
    retry: 'never',
    cure: 'Set deadLetters.encryptionKey to the key that the record was kept with; `dead-letters show` names its id.',
  },
  DEAD_LETTER_NOT_FOUND: {
    exit: 3,
    retry: 'never',
    cure: 'See `understudy dead-letters list`.',
  },
  APPLY_BLOCKED: {
    exit: 4,
    retry: 'backoff',
    cure: 'Wait; or end the candidate’s session, or put back the row named above (`rollout reset`).',
  },
  SCHEMA_FAILED: {
    exit: 6,
    retry: 'never',
    cure: 'The shadow’s schema could not be made; see the statement named above.',
  },

  BOOTSTRAPPING: {
    exit: 4,
    retry: 'backoff',
    cure: 'Wait until `understudy status` no longer shows the copy; `run` or `materialize` goes on with it.',
  },

  BACKUP_MISSING: {
    exit: 3,
    retry: 'never',
    cure: 'Restore the backup into the trunk’s database (trunk.name) on the shadow server, then run the command again.',
  },
  BACKUP_UNREACHED: {
    exit: 4,
    retry: 'never',
    cure: 'Drop the trunk’s database (and its companion), restore a newer backup and give its position, or use trunk.bootstrap: production.',
  },

  // rollouts
  ROLLOUT_NOT_FOUND: { exit: 3, retry: 'never', cure: 'See `understudy rollout list`.' },
  ROLLOUT_EXISTS: { exit: 3, retry: 'never', cure: 'Choose another name or delete the old one.' },
  TRUNK_NOT_FOUND: {
    exit: 3,
    retry: 'never',
    cure: 'Run `understudy materialize --until-caught-up` or `understudy run` first.',
  },
  MIGRATION_FAILED: {
    exit: 1,
    retry: 'never',
    cure: 'Look at what the command said; run it again by `understudy rollout migrate`, or make the rollout anew.',
  },
  REQUEST_FAILED: {
    exit: 6,
    retry: 'never',
    cure: 'See the log of the `understudy run` it ran in.',
  },
  REQUEST_TIMEOUT: {
    exit: 4,
    retry: 'backoff',
    cure: 'The `understudy run` that holds the database did not answer; look at its log.',
  },

  // drift
  PIN_FAILED: { exit: 4, retry: 'backoff', cure: 'Run `understudy doctor`; it checks every step.' },
  TABLE_REWRITTEN: {
    exit: 2,
    retry: 'backoff',
    cure: 'Run it again; a truncate or rewrite after the snapshot hides what it saw.',
  },
  READ_FAILED: {
    exit: 4,
    retry: 'backoff',
    cure: 'Check that the account may SELECT from the table and that the session was not ended.',
  },
  MANIFEST_INVALID: {
    exit: 3,
    retry: 'never',
    cure: 'Write it again with `understudy drift snapshot`.',
  },

  // the process itself
  INTERRUPTED: { exit: 5, retry: 'never', cure: 'Run the same command again; it resumes.' },
  INTERNAL: { exit: 6, retry: 'never', cure: 'This is a bug in understudy; please report it.' },
} as const satisfies Record<string, CodeSpec>;

export type ErrorCode = keyof typeof CODES;
