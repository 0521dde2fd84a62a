import { readdir } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { main } from '../../../src/cli/program.ts';

const HELP = new URL('../../golden/help/', import.meta.url);

interface Outcome {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

async function run(...argv: readonly string[]): Promise<Outcome> {
  let out = '';
  let err = '';
  const status = await main(argv, {
    out: (text) => (out += text),
    err: (text) => (err += text),
    outIsTerminal: false,
    errIsTerminal: false,
    env: {},
    signal: new AbortController().signal,
  });
  return { status, out, err };
}

/** Every command there is, found by reading the help. */
async function commands(above: readonly string[] = []): Promise<readonly (readonly string[])[]> {
  const { out } = await run(...above, '--help');
  const list = /^Commands:\n((?: .*\n)+)/m.exec(out)?.[1] ?? '';
  const names = [...list.matchAll(/^ {2}([a-z]\S*)/gm)].map((match) => match[1] ?? '');
  const inner = names.filter((name) => name !== 'help').map((name) => commands([...above, name]));
  return [above, ...(await Promise.all(inner)).flat()];
}

const all = await commands();
const fileOf = (command: readonly string[]): string =>
  `${['understudy', ...command].join('-')}.txt`;

describe('help', () => {
  // To renew: `vitest run --update`, then read the difference.
  it.each(all.map((command) => [`understudy ${command.join(' ')}`, command] as const))(
    'of %s',
    async (_, command) => {
      const { status, out, err } = await run(...command, '--help');
      expect({ status, err }).toEqual({ status: 0, err: '' });
      await expect(out).toMatchFileSnapshot(`../../golden/help/${fileOf(command)}`);
    },
  );

  it('is kept for the commands there are, and no others', async () => {
    expect((await readdir(HELP)).toSorted()).toEqual(all.map(fileOf).toSorted());
    expect(all.length).toBeGreaterThan(10);
  });

  it('of every command that does something shows an example', async () => {
    const groups = all.filter((command) =>
      all.some((other) => other.length > command.length && other[0] === command[0]),
    );
    for (const command of all) {
      if (groups.includes(command)) continue;
      expect((await run(...command, '--help')).out, command.join(' ')).toMatch(/^Examples?:/m);
    }
  });
});

describe('wrong words', () => {
  it.each([
    [['frobnicate'], "unknown command 'frobnicate'"],
    [['statsu'], "unknown command 'statsu' (Did you mean status?)"],
    [['status', '--frobnicate'], "unknown option '--frobnicate'"],
    [['rollout', 'create'], "missing required argument 'name'"],
    [['status', 'too', 'many'], 'too many arguments'],
    [['init', '--connector', 'oracle'], "argument 'oracle' is invalid"],
  ])('%j are USAGE', async (argv, message) => {
    const plain = await run(...argv);
    expect(plain.status).toBe(3);
    expect(plain.out).toBe('');
    expect(plain.err).toMatch(/^understudy: USAGE: [^\n]*\n$/);
    expect(plain.err).toContain(message);
    const json = await run(...argv, '--json');
    expect(json.status).toBe(3);
    expect(JSON.parse(json.out)).toMatchObject({ error: { code: 'USAGE' } });
  });
});
