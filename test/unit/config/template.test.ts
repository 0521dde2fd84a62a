import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../../src/config/load.ts';
import {
  configTemplate,
  CONNECTORS,
  connectorTemplate,
  type TemplateAnswers,
} from '../../../src/config/template.ts';
import { diagnoseConnector } from '../../../src/doctor/connector-settings.ts';

const ANSWERS: TemplateAnswers = {
  connector: 'postgresql',
  topicPrefix: 'prod',
  brokers: ['a:9092', 'b:9092'],
  connectUrl: 'http://localhost:8083',
  connectorName: 'prod',
  production: null,
  shadow: 'embedded',
  trunk: 'shop',
};

describe.each(CONNECTORS)('the template for %s', (connector) => {
  it('loads as it is', () => {
    const own = connector === 'postgresql';
    const text = configTemplate({ ...ANSWERS, connector, shadow: own ? 'embedded' : 'mysql://s/' });
    expect(parseConfig(text, { file: 'understudy.yaml', env: {} })).toMatchObject({
      source: {
        connector,
        topicPrefix: 'prod',
        kafka: { brokers: ['a:9092', 'b:9092'] },
        connect: { url: 'http://localhost:8083', name: 'prod' },
      },
      shadow: own ? 'embedded' : { restoredBackup: false },
      trunk: { name: 'shop', schema: 'events' },
      consistency: 'transaction',
    });
  });

  it('refuses a shadow or a production of another kind', () => {
    const other = connector === 'postgresql' ? 'mysql://s/' : 'postgres://s/';
    const own = connector === 'postgresql' ? 'postgres://s/' : `${connector}://s/`;
    for (const answers of [
      { shadow: other, production: null },
      { shadow: own, production: other },
    ]) {
      const text = configTemplate({ ...ANSWERS, connector, ...answers });
      expect(() => parseConfig(text, { file: 'understudy.yaml', env: {} })).toThrow(
        /source.connector’s kind|is not valid/,
      );
    }
  });

  it('keeps what was answered, whatever is in it', () => {
    const odd = `we"ird: #{x} 'y' \\`;
    const scheme = connector === 'postgresql' ? 'postgres' : connector;
    const text = configTemplate({
      ...ANSWERS,
      connector,
      topicPrefix: odd,
      production: `${scheme}://u:\${WORD}@h/d`,
      shadow: `${scheme}://u:p"#w@h/d`,
    });
    const config = parseConfig(text, { file: 'understudy.yaml', env: { WORD: 'w' } });
    expect(config.source.topicPrefix).toBe(odd);
    expect(config.production?.url.reveal()).toBe(`${scheme}://u:w@h/d`);
    expect(config.shadow !== 'embedded' && config.shadow.url.reveal()).toBe(
      `${scheme}://u:p"#w@h/d`,
    );
    expect(config.trunk.schema).toBe('production');
  });

  it('comes with a connector configuration in which doctor finds no trap', async () => {
    const text = await connectorTemplate({ connector, topicPrefix: 'mine', connectorName: 'one' });
    const { name, config } = JSON.parse(text) as { name: string; config: Record<string, string> };
    expect(name).toBe('one');
    expect(config['topic.prefix']).toBe('mine');
    const findings = diagnoseConnector(name, new Map(Object.entries(config)), { byColumn: false });
    expect(findings).toMatchObject([{ level: 'ok' }]);
  });
});
