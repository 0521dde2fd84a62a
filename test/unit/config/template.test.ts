import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../../src/config/load.ts';
import {
  configTemplate,
  CONNECTORS,
  connectorTemplate,
  FORMATS,
  type TemplateAnswers,
} from '../../../src/config/template.ts';
import { inspectSettings } from '../../../src/decode/connectors/settings.ts';
import { diagnoseConnector } from '../../../src/doctor/connector-settings.ts';
import { contradictions } from '../../../src/source/connect/settle.ts';

const ANSWERS: TemplateAnswers = {
  connector: 'postgresql',
  topicPrefix: 'prod',
  brokers: ['a:9092', 'b:9092'],
  connectUrl: 'http://localhost:8083',
  connectorName: 'prod',
  production: null,
  shadow: 'embedded',
  trunk: 'shop',
  format: 'json',
  registryUrl: 'http://registry:8081',
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

  it('comes with a connector of its own for topics of any name', async () => {
    const settingsOf = async (topicPrefix: string): Promise<Readonly<Record<string, string>>> =>
      parse(await connectorTemplate({ ...ANSWERS, connector, topicPrefix })).config;
    const [one, other] = [await settingsOf('my.prod'), await settingsOf('my.prod2')];
    const topics = new RegExp(`^(?:${one['topic.creation.transaction.include'] ?? ''})$`);
    expect(topics.test('my.prod.transaction')).toBe(true);
    expect(topics.test('my.prod.shop.transaction')).toBe(false);
    const identity = connector === 'postgresql' ? 'slot.name' : 'database.server.id';
    expect(one[identity]).not.toBe(other[identity]);
    expect(one).toEqual(await settingsOf('my.prod'));
  });

  it.each(FORMATS)('comes with a connector in which doctor finds no trap: %s', async (format) => {
    const shadow = connector === 'postgresql' ? 'embedded' : `${connector}://s/`;
    const names = { topicPrefix: 'mine', connectorName: 'one' };
    const answers = { ...ANSWERS, ...names, connector, shadow, format };
    const { name, config } = parse(await connectorTemplate(answers));
    expect(name).toBe('one');
    expect(config['topic.prefix']).toBe('mine');
    const settings = new Map(Object.entries(config));
    expect(diagnoseConnector(name, settings, { byColumn: false })).toMatchObject([{ level: 'ok' }]);
    const facts = inspectSettings(settings);
    expect(facts).toMatchObject({ connector, form: 'debezium', key: format, value: format });
    const loaded = parseConfig(configTemplate(answers), { file: 'understudy.yaml', env: {} });
    expect(contradictions(loaded.source, facts)).toEqual([]);
    expect(loaded.source.schemaRegistry?.url.reveal()).toBe(
      format === 'avro' ? 'http://registry:8081' : undefined,
    );
  });

  it('takes address, account and database from production’s, and never the password', async () => {
    const production = 'postgres://reader:${WORD}@db.example:7001/sh%6Fp';
    const text = await connectorTemplate({
      ...ANSWERS,
      connector,
      topicPrefix: 'Big.one',
      production,
    });
    expect(text).not.toContain('WORD}@');
    const { config } = parse(text);
    expect(config).toMatchObject({
      'database.hostname': 'db.example',
      'database.port': '7001',
      'database.user': 'reader',
      'database.password': '${env:PRODUCTION_PASSWORD}',
    });
    expect(config).toMatchObject(
      connector === 'postgresql'
        ? { 'database.dbname': 'shop', 'slot.name': 'debezium_big_one' }
        : {
            'database.include.list': 'shop',
            'schema.history.internal.kafka.topic': 'Big.one.schema-history',
            'schema.history.internal.kafka.bootstrap.servers': 'a:9092,b:9092',
          },
    );
  });
});

function parse(text: string): { name: string; config: Record<string, string> } {
  return JSON.parse(text) as { name: string; config: Record<string, string> };
}
