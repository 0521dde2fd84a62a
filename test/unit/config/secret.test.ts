import { inspect } from 'node:util';
import { expect, it } from 'vitest';
import { parseConfig } from '../../../src/config/load.ts';
import { Secret } from '../../../src/config/secret.ts';
import { createLogger } from '../../../src/observability/logger.ts';

const URL = 'postgres://someone:hunter2@host/shop';

it('is read in one way only', () => {
  expect(new Secret(URL).reveal()).toBe(URL);
});

it('is printed by nothing', () => {
  const secret = new Secret(URL);
  const nested = { a: [secret], error: new Error('x', { cause: secret }) };
  const prints = [
    String(secret),
    JSON.stringify(secret),
    JSON.stringify(nested),
    inspect(secret),
    inspect(nested, { depth: 9, showHidden: true }),
    inspect(secret, { customInspect: false, showHidden: true }),
    JSON.stringify(Object.assign({}, secret)),
    JSON.stringify(Object.entries(secret)),
  ];
  for (const text of prints) expect(text).not.toContain('hunter2');
});

it('stays hidden in a configuration and in the log', () => {
  const config = parseConfig(
    `source: { topicPrefix: p, recording: r }
production: { url: "${URL}" }
shadow: { url: "${URL}" }`,
    { file: 'x.yaml', env: {} },
  );
  const lines: string[] = [];
  const logger = createLogger({ level: 'debug', write: (line) => lines.push(line) });
  logger.info('configured', { config, url: config.production?.url });
  logger.child({ config }).error('failed', { error: new Error('x', { cause: config }) });
  expect(lines).toHaveLength(2);
  for (const text of [...lines, inspect(config, { depth: 9 }), JSON.stringify(config)]) {
    expect(text).toContain('[redacted]');
    expect(text).not.toContain('hunter2');
  }
});
