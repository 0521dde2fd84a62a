/**
 * The README's table of configuration keys, made from the schema of the configuration.
 * `npm run readme` writes it there; test/unit/readme.test.ts compares.
 */
import { writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { configSchema } from '../../src/config/schema.ts';
import { README, readReadme } from './readme.ts';

/** The part of JSON Schema that the configuration's schema turns into. */
interface Node {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Node[];
  readonly properties?: Readonly<Record<string, Node>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: unknown;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
}

/** Every key, with what it takes, its default and its meaning. */
export interface ConfigKey {
  readonly key: string;
  readonly values: string;
  readonly fallback: string;
  readonly meaning: string;
}

export function configKeys(): readonly ConfigKey[] {
  return [...walk('', z.toJSONSchema(configSchema, { io: 'input' }) as Node, false)];
}

export function configTable(): string {
  const rows = configKeys().map(
    ({ key, values, fallback, meaning }) => `| \`${key}\` | ${values} | ${fallback} | ${meaning} |`,
  );
  return ['| key | takes | default | meaning |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

function* walk(path: string, node: Node, required: boolean): Generator<ConfigKey> {
  const isLeaf = node.properties === undefined && node.anyOf?.some(hasKeys) !== true;
  if (isLeaf || (path !== '' && node.description !== undefined)) {
    yield {
      key: path,
      values: isLeaf ? valuesOf(node) : 'keys',
      fallback: isLeaf ? fallbackOf(node, required) : '',
      meaning: node.description ?? '',
    };
  }
  for (const choice of node.anyOf ?? []) {
    if (hasKeys(choice)) yield* walk(path, choice, required);
    else if (!isLeaf) yield* walk(path, choice, false);
  }
  for (const [name, child] of Object.entries(node.properties ?? {})) {
    const inner = path === '' ? name : `${path}.${name}`;
    yield* walk(inner, child, node.required?.includes(name) ?? false);
  }
}

function hasKeys(node: Node): boolean {
  return node.properties !== undefined;
}

function valuesOf(node: Node): string {
  if (node.const !== undefined) return code(node.const);
  if (node.enum !== undefined) return node.enum.map(code).join(', ');
  if (node.anyOf !== undefined) return node.anyOf.map(valuesOf).join(', ');
  switch (node.type) {
    case 'array':
      return 'list';
    case 'boolean':
      return '`true`, `false`';
    case 'integer':
    case 'number':
      return 'number';
    default:
      return 'text';
  }
}

function fallbackOf(node: Node, required: boolean): string {
  if (node.default !== undefined) return code(node.default);
  return required ? 'required' : '';
}

function code(value: unknown): string {
  return `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``;
}

/** The table's place in the README. */
export const CONFIG_PART = /(?<=<!-- config: .*? -->\n).*?(?=\n<!-- \/config -->)/s;

if (import.meta.main) {
  await writeFile(
    README,
    (await readReadme()).replace(CONFIG_PART, () => configTable()),
  );
}
