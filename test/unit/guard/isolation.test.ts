import { expect, it } from 'vitest';
import type { ServerIdentity } from '../../../src/dialect/dialect.ts';
import { assertIsolated, type IsolationFacts } from '../../../src/guard/isolation.ts';

const IDENTITY: ServerIdentity = { systemId: 'shadow', inRecovery: false, slots: ['other'] };

interface Scene {
  readonly address?: string;
  readonly target?: Partial<ServerIdentity>;
  /** Null if production is not configured. */
  readonly production?: { readonly systemId: string; readonly sameServer: boolean } | null;
  readonly connector?: IsolationFacts['connector'];
  readonly restoredBackup?: boolean;
}

/** Two servers that know each other's locks only if they are one. */
function facts(scene: Scene): IsolationFacts & { readonly held: ReadonlySet<bigint> } {
  const held = new Set<bigint>();
  const { production = null } = scene;
  return {
    held,
    shadow: {
      address: scene.address ?? 'shadow.example:5432/postgres',
      identity: () => Promise.resolve({ ...IDENTITY, ...scene.target }),
      lockVisible: (probe) => Promise.resolve(production?.sameServer === true && held.has(probe)),
    },
    production:
      production === null
        ? null
        : {
            address: 'production.example:5432/shop',
            identity: () =>
              Promise.resolve({ ...IDENTITY, slots: [], systemId: production.systemId }),
            holdProbeLock: (probe) => {
              held.add(probe);
              return Promise.resolve({
                [Symbol.asyncDispose]: () => {
                  held.delete(probe);
                  return Promise.resolve();
                },
              });
            },
          },
    connector: scene.connector ?? null,
    restoredBackup: scene.restoredBackup ?? false,
  };
}

const OTHER = { systemId: 'production', sameServer: false };
const CONNECTOR = { host: 'production.example', port: '5432', slot: 'debezium' };

it.each([
  ['production', { production: OTHER }],
  ['production', { production: OTHER, connector: CONNECTOR }],
  ['connector', { connector: CONNECTOR }],
  ['connector', { connector: { host: null, port: null, slot: null } }],
  ['none', {}],
  // The same identity, because it was restored from a backup: only the lock tells.
  ['production', { production: { ...OTHER, systemId: 'shadow' }, restoredBackup: true }],
] as const)('is shown by %s', async (evidence, scene: Scene) => {
  expect(await assertIsolated(facts(scene))).toBe(evidence);
});

it.each([
  ['a lock that is seen', { production: { systemId: 'shadow', sameServer: true } }],
  // A proxy may show another identity; a lock cannot be argued with.
  ['a lock, whatever else', { production: { ...OTHER, sameServer: true }, restoredBackup: true }],
  ['the same identity', { production: { ...OTHER, systemId: 'shadow' } }],
  ['the connector’s slot', { connector: CONNECTOR, target: { slots: ['a', 'debezium'] } }],
  [
    'the connector’s slot, though production is another',
    { production: OTHER, connector: CONNECTOR, target: { slots: ['debezium'] } },
  ],
  ['the connector’s address', { connector: { ...CONNECTOR, host: 'shadow.example' } }],
  [
    'the connector’s address by another name for this machine',
    {
      address: 'localhost:5432/postgres',
      connector: { ...CONNECTOR, host: '127.0.0.1' },
    },
  ],
] as const)('is refused because of %s', async (_, scene: Scene) => {
  await expect(assertIsolated(facts(scene))).rejects.toMatchObject({
    code: 'TARGET_IS_PRODUCTION',
  });
});

it('is not refused for an address that only begins alike', async () => {
  const connector = { host: 'shadow.example', port: '543', slot: null };
  expect(await assertIsolated(facts({ connector }))).toBe('connector');
});

it('refuses a standby', async () => {
  await expect(assertIsolated(facts({ target: { inRecovery: true } }))).rejects.toMatchObject({
    code: 'TARGET_IN_RECOVERY',
  });
});

it('gives its lock back, whatever the outcome', async () => {
  for (const sameServer of [false, true]) {
    const scene = facts({ production: { ...OTHER, sameServer } });
    await assertIsolated(scene).catch(() => undefined);
    expect([...scene.held]).toEqual([]);
  }
});
