import { readFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parse as parseYaml } from 'yaml';
import type { z } from 'zod';
import { UnderstudyError } from '../errors/understudy-error.ts';
import { configSchema, type Config } from './schema.ts';

type Env = Readonly<Record<string, string | undefined>>;

/**
 * Reads a configuration file, lets `UNDERSTUDY_*` variables override its keys, fills in
 * `${NAME}` and `${file:PATH}`, and checks it.
 * Errors: CONFIG_NOT_FOUND, CONFIG_INVALID naming the key.
 */
export async function loadConfig(file: string, env: Env): Promise<Config> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw new UnderstudyError('CONFIG_NOT_FOUND', `cannot read ${file}`, {}, error);
  }
  return parseConfig(text, { file, env });
}

/** The same from a text that was already read. */
export function parseConfig(
  text: string,
  options: { readonly file: string; readonly env: Env },
): Config {
  const { file, env } = options;
  let raw: unknown;
  try {
    raw = parseYaml(text) as unknown;
  } catch (error) {
    const detail = error instanceof Error ? (error.message.split('\n')[0] ?? '') : '';
    throw new UnderstudyError('CONFIG_INVALID', `${file} is not YAML`, { detail }, error);
  }
  if (raw === null || typeof raw !== 'object' || Array.isArray(raw)) {
    throw new UnderstudyError('CONFIG_INVALID', `${file} holds no configuration`);
  }
  const directory = path.dirname(path.resolve(file));
  const filled = interpolate(applyEnvironment(raw as Tree, env), env, directory, '');
  const parsed = configSchema.safeParse(filled);
  if (!parsed.success) {
    const detail = parsed.error.issues.flatMap((issue) => describeIssue(issue, [])).join('; ');
    throw new UnderstudyError('CONFIG_INVALID', `${file} is not valid`, { detail }, parsed.error);
  }
  const config = parsed.data;
  const recording = config.source.recording;
  const schema = config.trunk.schema;
  return {
    ...config,
    directory,
    source: {
      ...config.source,
      ...(recording === undefined ? {} : { recording: path.resolve(directory, recording) }),
    },
    trunk: {
      ...config.trunk,
      schema:
        schema === 'production' || schema === 'events' ? schema : path.resolve(directory, schema),
    },
  };
}

/** One sentence per fault, led by the key. Values are not repeated: they may be secret. */
function describeIssue(issue: z.core.$ZodIssue, above: readonly PropertyKey[]): readonly string[] {
  const at = [...above, ...issue.path];
  if (issue.code === 'invalid_union') {
    // What is wrong is said by the alternative that fits best: the one that got deepest.
    const depth = (issues: readonly z.core.$ZodIssue[]): number =>
      Math.max(0, ...issues.map((inner) => inner.path.length + unknownKeys(inner)));
    const nearest = issue.errors.toSorted((a, b) => depth(b) - depth(a))[0];
    if (nearest !== undefined && depth(nearest) > 0) {
      return nearest.flatMap((inner) => describeIssue(inner, at));
    }
  }
  return [`${at.length === 0 ? '' : `${at.map(String).join('.')}: `}${issue.message}`];
}

function unknownKeys(issue: z.core.$ZodIssue): number {
  return issue.code === 'unrecognized_keys' ? 1 : 0;
}

type Tree = { [key: string]: unknown };

const PREFIX = 'UNDERSTUDY_';
/** Variables of ours that are not configuration keys. */
const RESERVED = new Set(['UNDERSTUDY_CONFIG', 'UNDERSTUDY_LOG_LEVEL', 'UNDERSTUDY_SEED']);

/** The keys that a variable may set: every leaf of the schema, as `source.topicPrefix`. */
const KEYS: readonly string[] = [
  'source.connector',
  'source.topicPrefix',
  'source.form',
  'source.signalTable',
  'source.kafka.brokers',
  'source.kafka.clientId',
  'source.kafka.ssl',
  'source.kafka.sasl',
  'source.recording',
  'source.pace',
  'source.connect.url',
  'source.connect.name',
  'source.offsetsTopic',
  'source.extraTopics',
  'source.schemaRegistry.url',
  'source.schemaRegistry.api',
  'source.schemaRegistry.ids',
  'source.schemaRegistry.idBytes',
  'source.modes.time',
  'source.modes.decimal',
  'source.modes.bigintUnsigned',
  'source.modes.binary',
  'source.modes.hstore',
  'source.modes.interval',
  'source.modes.names',
  'source.modes.deletes',
  'production.url',
  'shadow',
  'shadow.url',
  'shadow.restoredBackup',
  'trunk.name',
  'trunk.schema',
  'trunk.bootstrap',
  'trunk.bootstrapJobs',
  'trunk.backupPosition',
  'consistency',
  'tables.include',
  'tables.exclude',
  'tables.rules',
  'apply.batchEvents',
  'apply.batchBytes',
  'apply.budgetBytes',
  'apply.maxRecordBytes',
  'apply.stallLimitSeconds',
  'apply.leaseSeconds',
  'overlay.applyDelaySeconds',
  'overlay.policy',
  'overlay.sweepSeconds',
  'overlay.outcomeDays',
  'overlay.isolate',
  'overlay.applierTriggers',
  'evolution.add',
  'evolution.widen',
  'evolution.enumValue',
  'evolution.newTable',
  'evolution.renameTable',
  'evolution.drop',
  'evolution.rename',
  'evolution.retype',
  'evolution.key',
  'evolution.droppedTable',
  'deadLetters.max',
  'deadLetters.topic',
  'deadLetters.encryptionKey',
];

/** `source.topicPrefix` → `UNDERSTUDY_SOURCE_TOPIC_PREFIX`. */
export function variableName(key: string): string {
  return (
    PREFIX +
    key
      .replaceAll('.', '_')
      .replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2')
      .toUpperCase()
  );
}

function applyEnvironment(raw: Tree, env: Env): Tree {
  const byVariable = new Map(KEYS.map((key) => [variableName(key), key]));
  const result = structuredClone(raw);
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith(PREFIX) || value === undefined || RESERVED.has(name)) continue;
    const key = byVariable.get(name);
    if (key === undefined) continue;
    // Lists, objects, numbers and booleans are written as YAML; everything else is the text.
    setPath(result, key.split('.'), scalarOrYaml(value));
  }
  return result;
}

function scalarOrYaml(value: string): unknown {
  return /^(\[.*\]|\{.*\}|true|false|-?\d+(\.\d+)?)$/s.test(value)
    ? (parseYaml(value) as unknown)
    : value;
}

function setPath(tree: Tree, keys: readonly string[], value: unknown): void {
  const [head, ...rest] = keys;
  if (head === undefined) return;
  if (rest.length === 0) {
    tree[head] = value;
    return;
  }
  const child = tree[head];
  const next = child !== null && typeof child === 'object' && !Array.isArray(child) ? child : {};
  tree[head] = next;
  setPath(next as Tree, rest, value);
}

function interpolate(value: unknown, env: Env, directory: string, at: string): unknown {
  if (typeof value === 'string') {
    return value.replaceAll(/\$\{([^}]+)\}/g, (_, name: string) =>
      lookup(name, env, directory, at),
    );
  }
  if (Array.isArray(value)) {
    return value.map((item, i) => interpolate(item, env, directory, `${at}[${i}]`));
  }
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [
        key,
        interpolate(item, env, directory, at === '' ? key : `${at}.${key}`),
      ]),
    );
  }
  return value;
}

function lookup(name: string, env: Env, directory: string, at: string): string {
  if (name.startsWith('file:')) {
    const file = path.resolve(directory, name.slice('file:'.length));
    try {
      return readFileSync(file, 'utf8').trimEnd();
    } catch (error) {
      throw new UnderstudyError('CONFIG_INVALID', `${at}: cannot read ${file}`, {}, error);
    }
  }
  const value = env[name];
  if (value === undefined) {
    throw new UnderstudyError('CONFIG_INVALID', `${at}: the variable ${name} is not set`);
  }
  return value;
}
