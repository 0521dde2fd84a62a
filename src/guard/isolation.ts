/**
 * Makes sure, before any write, that the shadow server is not production (architecture,
 * decision 12). Each test is a fact read from the servers, not a comparison of names:
 *
 * 1. the target is not in recovery;
 * 2. a random advisory lock taken on production is not visible on the target (sees through
 *    aliases and proxies);
 * 3. the servers' own identities differ, unless the configuration says that the shadow was
 *    restored from a physical backup;
 * 4. the target does not hold the connector's replication slot;
 * 5. the connector's own host, port and database are not the target's.
 *
 * That we write only into databases with our marker is the shadow server's own invariant.
 */
import { randomInt } from 'node:crypto';
import type { ProductionDatabase, ShadowServer } from '../dialect/dialect.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';

/** Where the connector reads, as Kafka Connect knows it. */
export interface ConnectorTarget {
  readonly host: string | null;
  readonly port: string | null;
  readonly slot: string | null;
}

/** What the guard asks of the two sides. */
type Target = Pick<ShadowServer, 'address' | 'identity' | 'lockVisible'>;
type Production = Pick<ProductionDatabase, 'address' | 'identity' | 'holdProbeLock'>;

export interface IsolationFacts {
  readonly shadow: Target;
  readonly production: Production | null;
  readonly connector: ConnectorTarget | null;
  readonly restoredBackup: boolean;
}

export type IsolationEvidence = 'production' | 'connector' | 'none';

/**
 * Throws TARGET_IS_PRODUCTION or TARGET_IN_RECOVERY. Returns by what the isolation was shown;
 * `none` means that neither production nor Connect could be asked, and only the marker protects.
 */
export async function assertIsolated(facts: IsolationFacts): Promise<IsolationEvidence> {
  const target = await facts.shadow.identity();
  if (target.inRecovery) {
    throw new UnderstudyError('TARGET_IN_RECOVERY', `${facts.shadow.address} is a standby`);
  }
  if (facts.connector !== null)
    assertNotConnectorsSource(facts.shadow, target.slots, facts.connector);
  if (facts.production !== null) {
    await assertNotSameServer(facts, facts.production, target.systemId);
    return 'production';
  }
  return facts.connector === null ? 'none' : 'connector';
}

async function assertNotSameServer(
  facts: IsolationFacts,
  production: Production,
  targetSystemId: string,
): Promise<void> {
  // 48 random bits: no chance of meeting a lock that somebody else holds.
  const probe = BigInt(randomInt(2 ** 47)) + 2n ** 60n;
  await using _held = await production.holdProbeLock(probe);
  if (await facts.shadow.lockVisible(probe)) {
    throw new UnderstudyError(
      'TARGET_IS_PRODUCTION',
      `a lock taken on production (${production.address}) is visible on ${facts.shadow.address}`,
    );
  }
  const source = await production.identity();
  if (source.systemId === targetSystemId && !facts.restoredBackup) {
    throw new UnderstudyError(
      'TARGET_IS_PRODUCTION',
      `${facts.shadow.address} has production's system identifier`,
      { detail: 'if it was restored from a backup of production, set shadow.restoredBackup: true' },
    );
  }
}

function assertNotConnectorsSource(
  shadow: Target,
  slots: readonly string[],
  connector: ConnectorTarget,
): void {
  if (connector.slot !== null && slots.includes(connector.slot)) {
    throw new UnderstudyError(
      'TARGET_IS_PRODUCTION',
      `${shadow.address} holds the connector's replication slot ${connector.slot}`,
    );
  }
  if (connector.host === null || connector.port === null) return;
  const [place = ''] = shadow.address.split('/');
  if (placeOf(place) === placeOf(`${connector.host}:${connector.port}`)) {
    throw new UnderstudyError(
      'TARGET_IS_PRODUCTION',
      `the connector reads from ${connector.host}:${connector.port}, which is the shadow server`,
    );
  }
}

/** `host:port` with one name for this machine. Aliases beyond that only the servers can tell. */
function placeOf(hostAndPort: string): string {
  return hostAndPort
    .toLowerCase()
    .replace(/^(localhost|127\.0\.0\.1|\[::1\]|::1)(?=:\d+$)/, 'localhost');
}
