/** Migrations that a candidate ran by itself are ended soon, also where production sends nothing. */
import { ownMigrationsOf } from '../dialect/migrating.ts';
import { Beside } from './beside.ts';
import type { Stage } from './stage.ts';

/** Until then views of its tables are not there. */
const LOOK_MS = 1_000;
/** After a failure. */
const PAUSE_MS = 5_000;

/** Cares for it beside a running follower. In a trunk nobody migrates. */
export function careForMigrations(stage: Stage): Beside {
  const { context, database, holder } = stage;
  const own = database.marker.kind === 'rollout' ? ownMigrationsOf(database) : null;
  return new Beside(stage, {
    act: async () => {
      if (own === null || !(await own.isUnended())) return LOOK_MS;
      if (await stage.betweenWrites(() => own.end(holder.fence))) {
        context.logger.info('the candidate migrated by itself', { database: database.name });
      }
      return LOOK_MS;
    },
    failed: 'a migration of the candidate’s could not be ended',
    pauseMs: PAUSE_MS,
  });
}
