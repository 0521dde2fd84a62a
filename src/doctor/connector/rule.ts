import {
  word as wordOf,
  type ConnectorFacts,
  type ConnectorSettings,
} from '../../decode/connectors/settings.ts';

/** A connector's configuration, as it is and as it was understood. */
export interface ConnectorView {
  readonly settings: ConnectorSettings;
  readonly facts: ConnectorFacts;
}

/** One trap in a connector's configuration. */
export interface ConnectorRule {
  readonly id: string;
  readonly level: 'warning' | 'error';
  /** True if the configuration falls into the trap; a text says by what, and follows the message. */
  readonly trapped: (view: ConnectorView) => boolean | string;
  /** What it costs. */
  readonly message: string;
  readonly cure: string;
}

/** A setting in the spelling that Debezium compares by; empty where it is not set. */
export function word({ settings }: Pick<ConnectorView, 'settings'>, setting: string): string {
  return wordOf(settings, setting);
}

/** Settings that match and are not empty, for the end of a message; false if there are none. */
export function settingsLike(view: ConnectorView, pattern: RegExp): string | false {
  const found = [...view.settings]
    .filter(([name, value]) => pattern.test(name) && value.trim() !== '')
    .map(([name]) => name)
    .toSorted();
  return found.length > 0 && found.join(', ');
}
