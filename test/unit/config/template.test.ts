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
    const text = configTemplate({ ...ANSWERS, connector });
    expect(parseConfig(text, { file: 'understudy.yaml', env: {} })).toMatchObject({
      source: {
        connector,
        topicPrefix: 'prod',
        kafka: { brokers: ['a:9092', 'b:9092'] },
        connect: { url: 'http://localhost:8083', name: 'prod' },
      },
      shadow: 'embedded',
      trunk: { name: 'shop', schema: 'events' },
      consistency: 'transaction',
    });
  });

  it('keeps what was answered, whatever is in it', () => {
    const odd = `we"ird: #{x} 'y' \\`;
    const text = configTemplate({
      ...ANSWERS,
      connector,
      topicPrefix: odd,
      production: 'postgres://u:${WORD}@h/d',
      shadow: `postgres://u:p"#w@h/d`,
    });
    const config = parseConfig(text, { file: 'understudy.yaml', env: { WORD: 'w' } });
    expect(config.source.topicPrefix).toBe(odd);
    expect(config.production?.url.reveal()).toBe('postgres://u:w@h/d');
    expect(config.shadow !== 'embedded' && config.shadow.url.reveal()).toBe(
      'postgres://u:p"#w@h/d',
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
