/** The port's migrations over a shadow database's acts. */
import type pg from 'pg';
import type { Fence } from '../../dialect.ts';
import type { Migrations, MigrationOutcome } from '../../migrating.ts';
import { beginMigration, endMigration } from '../overlay/migrating.ts';
import { noteBeginning } from '../overlay/self-migrating.ts';
import type { ApplySession } from '../apply/apply.ts';
import { settleWaiting } from '../overlay/write-waiting.ts';
import type { ServerAddress } from '../session/session.ts';
import type { ChangingAct } from './self-migrations.ts';
import { endMigratingSessions, shutMigratingRole } from './migrating-role.ts';

export function pgMigrations(parts: {
  readonly address: ServerAddress;
  readonly database: string;
  readonly act: ChangingAct;
  /** Opens what an applier's session knows, in such a transaction. */
  readonly session: (client: pg.Client, fence: Fence) => Promise<ApplySession>;
  /** What the session knows of the tables does not hold any more. */
  readonly forget: () => void;
}): Migrations {
  const { address, database, act, session, forget } = parts;
  return {
    begin: (fence, { role: candidate }) =>
      act(fence, 'let the candidate migrate', async (client) => {
        // Production's image is copied from the tables and their journals.
        await settleWaiting(client, () => session(client, fence), null);
        forget();
        return beginMigration(client, { address, database, candidate });
      }),
    // Who migrates is out for good before what it did is looked at.
    end: async (fence): Promise<MigrationOutcome> => {
      const doing = 'end a migration';
      const ends = { ends: true };
      await act(fence, doing, (client) => shutMigratingRole(client, database), ends);
      await act(fence, doing, (client) => endMigratingSessions(client, database), ends);
      return act(
        fence,
        doing,
        async (client) => {
          forget();
          const outcome = await endMigration(client, database);
          await noteBeginning(client, database);
          return outcome;
        },
        ends,
      );
    },
  };
}
