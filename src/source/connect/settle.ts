/**
 * What the connector's own configuration and ours say together. They may repeat each other, never
 * contradict: records would be read as something they are not.
 */
import type { SourceConfig } from '../../config/schema.ts';
import { settingOf, type ConnectorFacts } from '../../decode/connectors/settings.ts';
import type { ConnectorModes } from '../../decode/modes.ts';
import { UnderstudyError } from '../../errors/understudy-error.ts';

type Declared = Pick<SourceConfig, 'connector' | 'topicPrefix' | 'modes'>;

/**
 * The modes to decode by: the connector's, and declared ones only where its own could not be read.
 * CONFIG_INVALID names both sides of every contradiction.
 */
export function settleModes(declared: Declared, facts: ConnectorFacts): ConnectorModes {
  const found = contradictions(declared, facts);
  if (found.length > 0) {
    throw new UnderstudyError(
      'CONFIG_INVALID',
      'the configuration contradicts the connector’s own',
      { detail: found.join('; ') },
    );
  }
  return { ...declared.modes, ...facts.modes };
}

/** One sentence per contradiction; none if both agree. */
export function contradictions(declared: Declared, facts: ConnectorFacts): readonly string[] {
  const found: string[] = [];
  const differ = (ours: string, our: string, theirs: string, their: string): void => {
    found.push(`${ours} is '${our}', but the connector’s ${theirs} is '${their}'`);
  };
  if (facts.connector !== null && facts.connector !== declared.connector) {
    differ('source.connector', declared.connector, 'connector.class', facts.connector);
  }
  if (facts.topicPrefix !== null && facts.topicPrefix !== declared.topicPrefix) {
    differ('source.topicPrefix', declared.topicPrefix, 'topic.prefix', facts.topicPrefix);
  }
  for (const mode of Object.keys(declared.modes) as (keyof ConnectorModes)[]) {
    const our = declared.modes[mode];
    const their = facts.modes[mode];
    if (our === undefined || their === undefined || our === their) continue;
    differ(`source.modes.${mode}`, our, settingOf(mode), their);
  }
  return found;
}
