/** The forms of a log's records: the converters of a connector, and what we are told of them. */
import type { ConnectorConfig } from '../../support/connect-rest.ts';
import { avroConverters } from '../../support/registry.ts';
import type { BenchServers } from './servers.ts';

export type Form = 'json' | 'bare' | 'avro';

const BARE: ConnectorConfig = Object.fromEntries(
  ['key', 'value'].flatMap((side) => [
    [`${side}.converter`, 'org.apache.kafka.connect.json.JsonConverter'],
    [`${side}.converter.schemas.enable`, 'false'],
  ]),
);

interface FormSettings {
  readonly converters: ConnectorConfig;
  /** Of our configuration's `source`. */
  readonly source: object;
}

export async function settingsOf(form: Form, servers: BenchServers): Promise<FormSettings> {
  switch (form) {
    case 'json':
      return { converters: {}, source: {} };
    case 'bare':
      // As the connectors that we publish have it.
      return { converters: BARE, source: { modes: { time: 'adaptive', decimal: 'string' } } };
    case 'avro': {
      const registry = await servers.registry();
      const url = `http://127.0.0.1:${String(registry.port)}/apis/ccompat/v7`;
      return {
        converters: avroConverters(registry),
        source: { schemaRegistry: { url }, modes: { names: 'avro' } },
      };
    }
  }
}
