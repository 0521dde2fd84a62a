/**
 * What a Debezium connector's own configuration says about the records it writes: the modes with
 * the connector's defaults, the encoding, the form. Pure; where a value cannot be read (a variable
 * of Kafka Connect, a mode of a later version) nothing is assumed, and it is listed.
 */
import type { SourcePosition } from '../../change/position.ts';
import type { ConnectorModes } from '../modes.ts';

export type ConnectorSettings = ReadonlyMap<string, string>;

/** `unset`: the worker's converter, which Kafka Connect does not tell. */
export type Encoding = 'json' | 'json-without-schema' | 'avro' | 'cloudevents' | 'unset' | 'other';

export interface Transform {
  /** As the connector's `transforms` names it. */
  readonly name: string;
  /** The class without its package; empty if none is given. */
  readonly type: string;
}

export interface ConnectorFacts {
  /** Null for a connector that is none of ours. */
  readonly connector: SourcePosition['connector'] | null;
  /** What it reads: a replication slot's log, or a binary log as a replica does. */
  readonly log: 'slot' | 'binlog' | null;
  /**
   * A snapshot that locks nothing sees rows as of before it asks for its position: what is committed
   * between is lost. So on MySQL, whose catalogue, which the connector reads first, is InnoDB's own.
   */
  readonly seesBeforePosition: boolean;
  readonly topicPrefix: string | null;
  /** Those that the connector has; settings that it does not know are left out. */
  readonly modes: ConnectorModes;
  /** Settings whose value is none that we can read. */
  readonly unreadable: readonly string[];
  readonly form: 'debezium' | 'flat' | 'cloudevents';
  readonly key: Encoding;
  readonly value: Encoding;
  readonly transforms: readonly Transform[];
  /** include.unknown.datatypes. */
  readonly unknownDatatypes: boolean;
  /** A value that cannot be converted stops it, instead of being sent as NULL. */
  readonly stopsAtValues: boolean;
  readonly slot: string | null;
  /** signal.data.collection. */
  readonly signalTable: string | null;
  readonly publication: { readonly name: string; readonly madeByConnector: boolean } | null;
}

const CLASSES: Readonly<Record<string, SourcePosition['connector']>> = {
  'io.debezium.connector.postgresql.PostgresConnector': 'postgresql',
  'io.debezium.connector.mysql.MySqlConnector': 'mysql',
  'io.debezium.connector.mariadb.MariaDbConnector': 'mariadb',
};

/** `deletes` is not the connector's: the flattening transform has it. */
type Mode = Exclude<keyof ConnectorModes, 'deletes'>;
interface ModeSetting {
  readonly setting: string;
  readonly values: readonly string[];
  /** Those of `values` that one which reads a binlog refuses. */
  readonly notOfBinlog?: readonly string[];
  /** The default by what the connector reads; null where it has no such setting. */
  readonly slot: string | null;
  readonly binlog: string | null;
}

/** Defaults of Debezium 3.6. */
const MODES: { readonly [M in Mode]-?: ModeSetting } = {
  time: {
    setting: 'time.precision.mode',
    values: [
      'adaptive',
      'adaptive_time_microseconds',
      'connect',
      'isostring',
      'microseconds',
      'nanoseconds',
    ],
    notOfBinlog: ['adaptive'],
    slot: 'adaptive',
    binlog: 'adaptive_time_microseconds',
  },
  decimal: {
    setting: 'decimal.handling.mode',
    values: ['precise', 'double', 'string'],
    slot: 'precise',
    binlog: 'precise',
  },
  bigintUnsigned: {
    setting: 'bigint.unsigned.handling.mode',
    values: ['long', 'precise'],
    slot: null,
    binlog: 'long',
  },
  binary: {
    setting: 'binary.handling.mode',
    values: ['bytes', 'base64', 'base64-url-safe', 'hex'],
    slot: 'bytes',
    binlog: 'bytes',
  },
  hstore: {
    setting: 'hstore.handling.mode',
    values: ['json', 'map'],
    slot: 'json',
    binlog: null,
  },
  interval: {
    setting: 'interval.handling.mode',
    values: ['numeric', 'string'],
    slot: 'numeric',
    binlog: null,
  },
  names: {
    setting: 'field.name.adjustment.mode',
    values: ['none', 'avro', 'avro_unicode'],
    slot: 'none',
    binlog: 'none',
  },
};

const DELETES = 'delete.tombstone.handling.mode';
const DELETE_VALUES: ReadonlySet<string> = new Set<NonNullable<ConnectorModes['deletes']>>([
  'drop',
  'tombstone',
  'rewrite',
  'rewrite-with-tombstone',
  'delete-to-tombstone',
]);

/** The setting's name of a mode. */
export function settingOf(mode: keyof ConnectorModes): string {
  return mode === 'deletes' ? DELETES : MODES[mode].setting;
}

export function inspectSettings(settings: ConnectorSettings): ConnectorFacts {
  const connector = CLASSES[settings.get('connector.class') ?? ''] ?? null;
  const log = connector === null ? null : connector === 'postgresql' ? 'slot' : 'binlog';
  const transforms = readTransforms(settings);
  const { modes, unreadable } = readModes(settings, log, transforms);
  const value = encodingOf(settings, 'value');
  return {
    connector,
    log,
    topicPrefix: settings.get('topic.prefix') ?? null,
    modes,
    unreadable,
    form: value === 'cloudevents' ? 'cloudevents' : transforms.some(flattens) ? 'flat' : 'debezium',
    key: encodingOf(settings, 'key'),
    value,
    transforms,
    unknownDatatypes: word(settings, 'include.unknown.datatypes') === 'true',
    stopsAtValues: word(settings, 'event.converting.failure.handling.mode') === 'fail',
    seesBeforePosition: connector === 'mysql',
    slot: log === 'slot' ? (settings.get('slot.name') ?? 'debezium') : null,
    signalTable: settings.get('signal.data.collection') ?? null,
    publication: log === 'slot' ? publicationOf(settings) : null,
  };
}

function readModes(
  settings: ConnectorSettings,
  log: 'slot' | 'binlog' | null,
  transforms: readonly Transform[],
): { readonly modes: ConnectorModes; readonly unreadable: readonly string[] } {
  const modes: Record<string, string> = {};
  const unreadable: string[] = [];
  for (const [mode, { setting, values, notOfBinlog = [], ...defaults }] of Object.entries(MODES)) {
    const byDefault = log === null ? null : defaults[log];
    if (log !== null && byDefault === null) continue;
    const given = settings.has(setting) ? word(settings, setting) : byDefault;
    if (given === null) continue;
    const refused = log === 'binlog' && notOfBinlog.includes(given);
    if (values.includes(given) && !refused) modes[mode] = given;
    else unreadable.push(setting);
  }
  const flattening = transforms.find(flattens);
  if (flattening !== undefined) {
    const deletes = settings.get(`transforms.${flattening.name}.${DELETES}`)?.trim() ?? 'tombstone';
    if (DELETE_VALUES.has(deletes)) modes['deletes'] = deletes;
    else unreadable.push(DELETES);
  }
  return { modes, unreadable };
}

function readTransforms(settings: ConnectorSettings): readonly Transform[] {
  return listOf(settings.get('transforms')).map((name) => ({
    name,
    type: simpleName(settings.get(`transforms.${name}.type`) ?? ''),
  }));
}

function flattens({ type }: Transform): boolean {
  return type === 'ExtractNewRecordState';
}

function encodingOf(settings: ConnectorSettings, side: 'key' | 'value'): Encoding {
  const converter = settings.get(`${side}.converter`);
  if (converter === undefined || converter === '') return 'unset';
  const name = simpleName(converter);
  if (name === 'CloudEventsConverter') return 'cloudevents';
  if (name === 'AvroConverter') return 'avro';
  if (name !== 'JsonConverter') return 'other';
  return word(settings, `${side}.converter.schemas.enable`) === 'false'
    ? 'json-without-schema'
    : 'json';
}

function publicationOf(settings: ConnectorSettings): ConnectorFacts['publication'] {
  return {
    name: settings.get('publication.name') ?? 'dbz_publication',
    madeByConnector: word(settings, 'publication.autocreate.mode') !== 'disabled',
  };
}

/** A setting in the spelling that Debezium compares by; empty where it is not set. */
export function word(settings: ConnectorSettings, setting: string): string {
  return settings.get(setting)?.trim().toLowerCase() ?? '';
}

/** The parts of a list as Kafka Connect writes them. */
export function listOf(text: string | undefined): readonly string[] {
  return (text ?? '')
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

function simpleName(className: string): string {
  return className.slice(className.lastIndexOf('.') + 1);
}
