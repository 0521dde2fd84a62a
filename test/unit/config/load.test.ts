import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { loadConfig, parseConfig, variableName } from '../../../src/config/load.ts';
import { configSchema, type Config } from '../../../src/config/schema.ts';
import { isUnderstudyError, type UnderstudyError } from '../../../src/errors/understudy-error.ts';

const SMALL = `
source: { topicPrefix: prod, kafka: { brokers: ["k:9092"] } }
shadow: { url: "postgres://shadow/postgres" }
`;

type Env = Readonly<Record<string, string>>;

function parse(text: string, env: Env = {}): Config {
  return parseConfig(text, { file: '/etc/understudy/understudy.yaml', env });
}

function failure(act: () => unknown): UnderstudyError {
  try {
    act();
  } catch (error) {
    if (isUnderstudyError(error)) return error;
    throw error;
  }
  throw new Error('it did not fail');
}

function problem(text: string, env: Env = {}): string {
  const error = failure(() => parse(text, env));
  expect(error.code).toBe('CONFIG_INVALID');
  return `${error.message}: ${error.context.detail ?? ''}`;
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'understudy-config-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('a configuration file', () => {
  it('gets working defaults for everything that is left out', () => {
    expect(parse(SMALL)).toMatchObject({
      directory: '/etc/understudy',
      source: { connector: 'postgresql', modes: {} },
      trunk: { name: 'shop', schema: 'production' },
      consistency: 'transaction',
      tables: { include: ['*.*'], exclude: [] },
      apply: { batchEvents: 20_000, stallLimitSeconds: 60, leaseSeconds: 10 },
    });
  });

  it('takes paths from its own folder', () => {
    const config = parse(`
source: { topicPrefix: prod, recording: logs/day.recording }
shadow: embedded
trunk: { schema: schema.sql }
`);
    expect(config.source.recording).toBe('/etc/understudy/logs/day.recording');
    expect(config.trunk.schema).toBe('/etc/understudy/schema.sql');
    expect(parse(`${SMALL}trunk: { schema: events }`).trunk.schema).toBe('events');
  });

  it('is not found under a name that is not there', async () => {
    const file = path.join(folder, 'none.yaml');
    await expect(loadConfig(file, {})).rejects.toMatchObject({
      code: 'CONFIG_NOT_FOUND',
      message: `cannot read ${file}`,
    });
  });

  it.each([
    ['a list', '- a\n- b', 'holds no configuration'],
    ['nothing', '', 'holds no configuration'],
    ['no YAML', 'a: [', 'is not YAML'],
    ['an unknown key', `${SMALL}shaddow: 1`, 'Unrecognized key: "shaddow"'],
    ['an unknown key within', `${SMALL}trunk: { nme: x }`, 'trunk: Unrecognized key: "nme"'],
    ['another type', `${SMALL}apply: { batchEvents: many }`, 'apply.batchEvents: '],
    ['too small a number', `${SMALL}apply: { leaseSeconds: 0 }`, 'apply.leaseSeconds: '],
    ['a pattern without schema', `${SMALL}tables: { exclude: [a] }`, 'tables.exclude.0: expected'],
    ['a name no database can have', `${SMALL}trunk: { name: Shop }`, 'trunk.name: expected'],
    ['no source', 'source: { topicPrefix: p }\nshadow: embedded', 'source: exactly one of'],
    [
      'two sources',
      'source: { topicPrefix: p, recording: r, kafka: { brokers: [k] } }\nshadow: embedded',
      'source: exactly one of',
    ],
    [
      'a shadow without url',
      'source: { topicPrefix: p, recording: r }\nshadow: { urll: x }',
      'shadow.url: ',
    ],
    [
      'a shadow with an unknown key',
      'source: { topicPrefix: p, recording: r }\nshadow: { url: x, pool: 3 }',
      'shadow: Unrecognized key: "pool"',
    ],
    [
      'a shadow whose url is no text',
      'source: { topicPrefix: p, recording: r }\nshadow: { url: 7 }',
      'shadow.url: ',
    ],
    ['another shadow', 'source: { topicPrefix: p, recording: r }\nshadow: other', 'shadow: '],
  ])('names the key in %s', (_, text, expected) => {
    expect(problem(text)).toContain(expected);
  });

  it('never repeats a value', () => {
    const texts = [
      `${SMALL}production: { url: [hunter2] }`,
      `${SMALL}production: hunter2`,
      `${SMALL}apply: { batchEvents: hunter2 }`,
      `${SMALL}consistency: hunter2`,
      'source: { topicPrefix: p, recording: r }\nshadow: hunter2',
      'source: { topicPrefix: p, recording: r }\nshadow: { url: "hunter2", pool: hunter2 }',
      'source: { topicPrefix: p, kafka: { brokers: hunter2 } }\nshadow: embedded',
      `${SMALL}production: { url: "hunter2`,
    ];
    for (const text of texts) expect(problem(text)).not.toContain('hunter2');
  });
});

describe('variables', () => {
  it('override keys, in the types the keys have', () => {
    const config = parse(SMALL, {
      UNDERSTUDY_SOURCE_TOPIC_PREFIX: 'other',
      UNDERSTUDY_SOURCE_KAFKA_BROKERS: '["a:1", "b:2"]',
      UNDERSTUDY_APPLY_BATCH_EVENTS: '17',
      UNDERSTUDY_SHADOW_RESTORED_BACKUP: 'true',
      UNDERSTUDY_PRODUCTION_URL: 'postgres://p:word@host/shop',
      UNDERSTUDY_TABLES_EXCLUDE: '["public.audit*"]',
      UNDERSTUDY_LOG_LEVEL: 'debug',
      OTHER: 'x',
    });
    expect(config.source).toMatchObject({
      topicPrefix: 'other',
      kafka: { brokers: ['a:1', 'b:2'] },
    });
    expect(config.apply.batchEvents).toBe(17);
    expect(config.shadow).toMatchObject({ restoredBackup: true });
    expect(config.production?.url.reveal()).toBe('postgres://p:word@host/shop');
    expect(config.tables.exclude).toEqual(['public.audit*']);
  });

  it('replace a shadow of the other kind', () => {
    expect(parse(SMALL, { UNDERSTUDY_SHADOW: 'embedded' }).shadow).toBe('embedded');
    const embedded = 'source: { topicPrefix: p, recording: r }\nshadow: embedded';
    const { shadow } = parse(embedded, { UNDERSTUDY_SHADOW_URL: 'postgres://x/y' });
    expect(shadow !== 'embedded' && shadow.url.reveal()).toBe('postgres://x/y');
  });

  it('exist for every key of the schema', () => {
    const values: Readonly<Record<string, string>> = {};
    const missing = leaves(
      z.toJSONSchema(configSchema, { io: 'input', unrepresentable: 'any' }),
    ).filter((key) => {
      const marked = { ...values, [variableName(key)]: '{"unlikely":true}' };
      // A key that a variable reaches is refused for the odd value it was given.
      try {
        parse(SMALL, marked);
        return true;
      } catch {
        return false;
      }
    });
    expect(missing).toEqual([]);
  });
});

describe('references', () => {
  it('are filled in from variables and files', async () => {
    await writeFile(path.join(folder, 'secret.txt'), 'pass word\n');
    const file = path.join(folder, 'understudy.yaml');
    await writeFile(
      file,
      `source: { topicPrefix: "\${PREFIX}", kafka: { brokers: ["\${HOST}:\${PORT}"] } }
shadow: { url: "postgres://u:\${file:secret.txt}@h/d" }`,
    );
    const config = await loadConfig(file, { PREFIX: 'prod', HOST: 'k', PORT: '9092' });
    expect(config.source).toMatchObject({ topicPrefix: 'prod', kafka: { brokers: ['k:9092'] } });
    expect(config.shadow !== 'embedded' && config.shadow.url.reveal()).toBe(
      'postgres://u:pass word@h/d',
    );
  });

  it('do not read what they brought in as references again', () => {
    const text = `${SMALL}production: { url: "\${A}" }`;
    const config = parse(text, { A: '${B}', B: 'never' });
    expect(config.production?.url.reveal()).toBe('${B}');
  });

  it('name the key and the variable or file that is missing', () => {
    expect(problem(`${SMALL}production: { url: "p://\${NOT_SET}" }`)).toContain(
      'production.url: the variable NOT_SET is not set',
    );
    expect(problem(`${SMALL}tables: { include: ["\${NOT_SET}.*"] }`)).toContain(
      'tables.include[0]: the variable NOT_SET is not set',
    );
    expect(problem(`${SMALL}production: { url: "\${file:none.txt}" }`)).toContain(
      'production.url: cannot read /etc/understudy/none.txt',
    );
  });
});

interface JsonSchema {
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly anyOf?: readonly JsonSchema[];
}

/** The dotted names of everything in a schema that has no parts of its own. */
function leaves(schema: unknown, at: readonly string[] = []): readonly string[] {
  const { properties, anyOf = [] } = schema as JsonSchema;
  const inner = Object.entries(properties ?? {}).flatMap(([name, part]) =>
    leaves(part, [...at, name]),
  );
  const alternatives = anyOf.flatMap((part) => leaves(part, at));
  if (inner.length === 0 && alternatives.length === 0) return [at.join('.')];
  return [...new Set([...inner, ...alternatives])];
}
