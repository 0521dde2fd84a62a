import type { ShadowServer } from '../../../src/dialect/dialect.ts';
import { dialectFor } from '../../../src/dialect/registry.ts';
import type { TortureStage, TortureSuite } from '../seeds.ts';
import type { StormEngine } from './engine.ts';
import { playPolicies, POLICY_GROUNDS } from './policies.ts';
import { playStorm, STORM_DDL } from './storm.ts';

const TRUNK = 'trunk';
/** A holder that gives no sign of life for so long may be taken over from. */
const LEASE_MS = 100;

/**
 * Writers of a candidate on fifty rows, production's changes, resets, releases and sweeps, migrations of the
 * candidate in mid-flight, and holders that are killed in the midst of any of it, through the port.
 */
export function stormSuite(name: string, engine: StormEngine): TortureSuite {
  return {
    name,
    promise:
      'through migrations and kills production’s image is production, the candidate sees its own writes, and ' +
      'entries are exactly the difference',
    deadlineMs: 120_000,
    seedsInTests: 4,
    async open(): Promise<TortureStage> {
      const parts = await engine.start();
      const server = await openTrunk(parts.url, engine);
      return {
        async run(seed, { random, signal, note }): Promise<void> {
          const database = `storm_${String(seed)}`;
          const common = { engine, server, serverUrl: parts.url, database, random, signal, note };
          await onRollout(common, (candidate) =>
            playStorm({ ...common, ...candidate, durationMs: 3_000, restMs: 60, idleMs: 400 }),
          );
        },
        async [Symbol.asyncDispose](): Promise<void> {
          await server[Symbol.asyncDispose]();
          await parts.stop();
        },
      };
    },
  };
}

/** As `stormSuite`, of tables under policies, without migrations. */
export function policySuite(name: string, engine: StormEngine): TortureSuite {
  return {
    name,
    promise:
      'production’s changes come into the candidate’s rows as a policy says, each once, and nothing that the ' +
      'candidate wrote is lost',
    deadlineMs: 60_000,
    seedsInTests: 4,
    async open(): Promise<TortureStage> {
      const parts = await engine.start();
      await (await openTrunk(parts.url, engine))[Symbol.asyncDispose]();
      const servers = new Map<string, ShadowServer>();
      for (const [ground, { policy }] of Object.entries(POLICY_GROUNDS)) {
        const server = await dialectFor(parts.url).connectShadow(parts.url, {
          leaseMs: LEASE_MS,
          policies: () => policy,
        });
        servers.set(ground, server);
      }
      return {
        async run(seed, { random, signal, note }): Promise<void> {
          const name = random.pick(Object.keys(POLICY_GROUNDS));
          const [ground, server] = [POLICY_GROUNDS[name], servers.get(name)];
          if (ground === undefined || server === undefined) throw new Error(`there is no ${name}`);
          note(name);
          const database = `storm_${String(seed)}`;
          const common = { engine, server, serverUrl: parts.url, database, random, signal, note };
          const idleMs = random.pick([0, 0, 400]);
          await onRollout(common, (candidate) =>
            playPolicies({
              ...common,
              ...candidate,
              ...ground,
              durationMs: 2_500,
              restMs: 30,
              idleMs,
            }),
          );
        },
        async [Symbol.asyncDispose](): Promise<void> {
          for (const server of servers.values()) await server[Symbol.asyncDispose]();
          await parts.stop();
        },
      };
    },
  };
}

async function openTrunk(url: string, engine: StormEngine): Promise<ShadowServer> {
  const dialect = dialectFor(url);
  const address = await engine.makeProduction(url, STORM_DDL);
  await using production = await dialect.connectProduction(address, () => true);
  const server = await dialect.connectShadow(url, { leaseMs: LEASE_MS });
  const plan = await production.planShadow();
  await server.createTrunk({ name: TRUNK, topicPrefix: 'p', plan });
  return server;
}

async function onRollout(
  {
    engine,
    server,
    serverUrl,
    database,
  }: {
    readonly engine: StormEngine;
    readonly server: ShadowServer;
    readonly serverUrl: string;
    readonly database: string;
  },
  play: (candidate: { readonly role: string; readonly candidateUrl: string }) => Promise<void>,
): Promise<void> {
  // What fails first is told, also where what is left cannot be cleared away then.
  await using over = new AsyncDisposableStack();
  over.defer(async () => {
    await server.drop({ database, role: database });
    const admin = await engine.connect(serverUrl);
    await engine.clear(admin, database);
    await admin.end();
  });
  await server.clone({ from: TRUNK, to: database, rolloutName: 'next' });
  {
    await using opened = await server.open(database);
    const fence = await opened?.takeFence('storm');
    if (opened === null || fence === null || fence === undefined) {
      throw new Error('a new rollout has no fence to take');
    }
    await opened.installOverlay(fence);
    await opened.releaseFence(fence);
  }
  const role = database;
  const { url } = await server.createCandidateRole({ database, role, password: 'pass' });
  await play({ role, candidateUrl: url });
}
