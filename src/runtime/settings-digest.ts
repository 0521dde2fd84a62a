import { createHash } from 'node:crypto';
import type { Config } from '../config/schema.ts';

/**
 * A digest of the settings that decide which records are followed, and what is written of them:
 * processes that share a database's partitions must have the same. Addresses, limits and accounts may
 * differ.
 */
export function settingsDigest(config: Config): string {
  const { consistency, tables, evolution, source, apply } = config;
  const { connector, topicPrefix, form, modes, extraTopics } = source;
  const deciding = [
    apply.maxRecordBytes,
    consistency,
    tables,
    evolution,
    connector,
    topicPrefix,
    form,
    modes,
    extraTopics,
  ];
  return createHash('sha256').update(JSON.stringify(deciding)).digest('hex').slice(0, 16);
}
