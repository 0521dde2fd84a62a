import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parseConfig, variableName } from '../../src/config/load.ts';
import { exitCode } from '../../src/drift/verdict.ts';
import { CODES } from '../../src/errors/codes.ts';
import { CONFIG_PART, configKeys, configTable } from '../support/config-table.ts';
import { readReadme, shellCommands } from '../support/readme.ts';

const readme = await readReadme();

/** The smallest configuration; and the text of one that takes every key apart from `recording`. */
const SMALL = 'source: { topicPrefix: shop, kafka: { brokers: ["a:1"] } }\nshadow: embedded\n';

function part(name: string): string {
  const found = new RegExp(`^#+ ${name}\\n(.*?)(?=^#+ |$(?![\\s\\S]))`, 'ms').exec(readme);
  if (found === null) throw new Error(`the README has no part '${name}'`);
  return found[1] ?? '';
}

describe('the README', () => {
  it('has the configuration’s keys as its schema has them', () => {
    expect(CONFIG_PART.exec(readme)?.[0]).toBe(configTable());
  });

  it('says of no key too little', () => {
    expect(configKeys().filter(({ meaning }) => meaning === '')).toEqual([]);
    expect(configKeys().filter(({ meaning }) => meaning.includes(' | '))).toEqual([]);
  });

  it.each(configKeys().filter(({ values }) => values !== 'keys'))(
    '$key can be given by the environment, as promised',
    ({ key }) => {
      const read = (env: Record<string, string>): unknown => {
        try {
          return parseConfig(SMALL, { file: 'understudy.yaml', env });
        } catch (error) {
          // A value of the wrong kind was looked at too.
          return (error as Error).message;
        }
      };
      expect(read({ [variableName(key)]: 'x.y' })).not.toEqual(read({}));
    },
  );

  it('has every exit code', () => {
    const shown = [...part('Exit codes').matchAll(/^\| (\d) \|/gm)].map((match) =>
      Number(match[1]),
    );
    const used: readonly number[] = Object.values(CODES).map(({ exit }) => exit);
    const verdicts = (['equal', 'drift', 'inconclusive'] as const).map(exitCode);
    expect(shown).toEqual([...new Set([...verdicts, ...used])].sort((a, b) => a - b));
  });

  it('names only error codes that there are', () => {
    const named = [...readme.matchAll(/`([A-Z]+(?:_[A-Z]+)+)`/g)]
      .map((match) => match[1] ?? '')
      .filter((name) => !/^(UNDERSTUDY_|MYSQL_|SNAKE_CASE$|DATABASE_URL$)/.test(name));
    expect(named.filter((name) => !(name in CODES))).toEqual([]);
  });

  it('links only to files that there are', () => {
    const links = [...readme.matchAll(/\]\((?!https?:)([^)#]+)\)/g)].map((match) => match[1] ?? '');
    const missing = links.filter(
      (link) => !existsSync(fileURLToPath(new URL(`../../${link}`, import.meta.url))),
    );
    expect(links.length).toBeGreaterThan(3);
    expect(missing).toEqual([]);
  });

  it('is read as commands, continued lines as one', () => {
    const text = 'a\n```sh\nb \\\n  c\n\nd\n```\n```yaml\ne\n```\n';
    expect(shellCommands(text)).toEqual(['b c', 'd']);
  });
});
