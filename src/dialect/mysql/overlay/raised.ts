/** Errors of the candidate that the applier's locks may have to do with: see dialect/possibly-ours.ts. */
import type { DatabaseMarker } from '../../dialect.ts';
import type { PossiblyOurs } from '../../possibly-ours.ts';
import type { Client } from '../session/client.ts';
import { ERRNO, isRefusal } from '../session/errors.ts';
import type { Flavour } from '../session/flavour.ts';
import { companionName, quote } from '../session/names.ts';

const KINDS = [
  {
    errno: ERRNO.deadlock,
    code: '1213',
    when: 'a transaction waited for another, and that for it: then the server ends one',
  },
  {
    errno: ERRNO.lockWaitTimeout,
    code: '1205',
    when: 'a statement waited for another transaction’s lock for longer than it may',
  },
] as const;

/**
 * MySQL counts the errors of each account. MariaDB does not: there the deadlocks of the whole server are told,
 * which are never too few. Null of a trunk.
 */
export async function readRaised(
  client: Client,
  of: {
    readonly name: string;
    readonly marker: DatabaseMarker;
    readonly flavour: Pick<Flavour, 'engine'>;
  },
): Promise<PossiblyOurs | null> {
  if (of.marker.kind !== 'rollout') return null;
  return of.flavour.engine === 'mysql' ? countOfAccounts(client, of.name) : countOfServer(client);
}

async function countOfAccounts(client: Client, database: string): Promise<PossiblyOurs> {
  const { isOn } = await client.row<{ isOn: number }>('SELECT @@performance_schema AS isOn');
  if (Number(isOn) !== 1) return none('all of them: performance_schema is off');
  const accounts = quote(companionName(database), 'account');
  let found: readonly { errno: number; count: string }[];
  try {
    found = await client.rows(
      `SELECT e.ERROR_NUMBER AS errno, SUM(e.SUM_ERROR_RAISED) AS count
        FROM performance_schema.events_errors_summary_by_account_by_error e
        WHERE e.ERROR_NUMBER IN (${KINDS.map(({ errno }) => String(errno)).join(', ')})
          AND CONVERT(e.USER USING utf8mb4) COLLATE utf8mb4_bin IN
            (SELECT CONVERT(a.name USING utf8mb4) COLLATE utf8mb4_bin FROM ${accounts} a)
        GROUP BY e.ERROR_NUMBER`,
    );
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return none('all of them: the shadow’s account may not read performance_schema');
  }
  const counts = new Map(found.map(({ errno, count }) => [Number(errno), Number(count)]));
  const kinds = KINDS.map(({ errno, code, when }) => ({
    ...{ code, when },
    count: counts.get(errno) ?? 0,
  }));
  return {
    count: kinds.reduce((sum, { count }) => sum + count, 0),
    kinds,
    uncounted:
      'those before the server was last started, and those of accounts that are not the rollout’s; those of an ' +
      'earlier rollout of this name since then are counted too',
  };
}

async function countOfServer(client: Client): Promise<PossiblyOurs> {
  const [found] = await client.rows<{ Value: string }>(
    `SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'`,
  );
  if (found === undefined) return none('all of them: the server counts no deadlocks');
  const count = Number(found.Value);
  return {
    count,
    kinds: [
      {
        ...{ code: '1213', count },
        when: 'on the whole server, whoever was ended: the server counts no errors of accounts',
      },
    ],
    uncounted:
      'those before the server was last started, and waits for locks that took too long (1205)',
  };
}

function none(uncounted: string): PossiblyOurs {
  return { count: 0, kinds: [], uncounted };
}
