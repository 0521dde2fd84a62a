/**
 * Cycles of an applier that look right and are not: negative controls for the crash torture. They
 * write rows and save positions by the real applier's own parts; only what holds them together
 * differs.
 */
import type pg from 'pg';
import { unreachable } from '../../../src/util/assert.ts';
import type { ApplyOutcome, Fence, ShadowDatabase } from '../../../src/dialect/dialect.ts';
import {
  applierSessionSql,
  applyBatch,
  openApplySession,
} from '../../../src/dialect/postgres/apply/apply.ts';
import { readCatalogue } from '../../../src/dialect/postgres/catalogue/catalogue.ts';
import { assertFence, showPresence } from '../../../src/dialect/postgres/shadow/fence.ts';
import { saveProgress } from '../../../src/dialect/postgres/shadow/progress.ts';
import {
  Connection,
  ServerAddress,
  transaction,
} from '../../../src/dialect/postgres/session/session.ts';
import type { ChangeBatch } from '../../../src/order/change-batch.ts';
import type { CrashFault, NaiveDatabase } from './engine.ts';

/** `database` with another `apply`, which speaks to the server at `url`. */
export function openNaive(url: string, database: ShadowDatabase, fault: CrashFault): NaiveDatabase {
  const { name } = database;
  const connection = new Connection({
    ...{ address: new ServerAddress(url), database: name, role: 'apply' },
    prepare: async (client) => void (await client.query(applierSessionSql)),
  });
  const present = new WeakSet<pg.Client>();

  const rows = async (client: pg.Client, batch: ChangeBatch): Promise<ApplyOutcome> =>
    applyBatch(await openApplySession(client, await readCatalogue(client)), batch);

  const fenced = <T>(client: pg.Client, fence: Fence, act: () => Promise<T>): Promise<T> =>
    transaction(client, async () => {
      await assertFence(client, fence, name);
      return act();
    });

  const cycle = async (
    client: pg.Client,
    fence: Fence,
    batch: ChangeBatch,
  ): Promise<ApplyOutcome> => {
    switch (fault) {
      case 'position-after-rows': {
        const outcome = await fenced(client, fence, () => rows(client, batch));
        await fenced(client, fence, () => saveProgress(client, batch));
        return outcome;
      }
      case 'position-before-rows':
        await fenced(client, fence, () => saveProgress(client, batch));
        return fenced(client, fence, () => rows(client, batch));
      case 'no-fence':
        return transaction(client, async () => {
          const outcome = await rows(client, batch);
          await saveProgress(client, batch);
          return outcome;
        });
      case 'rows-again':
        return fenced(client, fence, async () => {
          const outcome = await rows(client, batch);
          await saveProgress(client, batch);
          return outcome;
        });
      default:
        return unreachable(fault);
    }
  };

  return {
    name,
    openBaseSnapshot: () => database.openBaseSnapshot(),
    apply: (fence, batch) =>
      connection.use({ doing: 'apply a batch', otherwise: 'APPLY_FAILED' }, async (client) => {
        if (fault !== 'no-fence' && !present.has(client)) {
          await showPresence(client, fence.generation);
          present.add(client);
        }
        return cycle(client, fence, batch);
      }),
    [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
  };
}
