import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { ERRNO, FULL, isConnectionLoss, serverError, tellable } from '../session/errors.ts';

/** Conditions that pass by themselves or by the server's operator: trying again is the cure. */
const TRANSIENT: ReadonlyMap<number, string> = new Map([
  [ERRNO.lockWaitTimeout, 'another session holds a lock'],
  [ERRNO.deadlock, 'the batch and another session waited for each other'],
  ...FULL.map((errno): [number, string] => [errno, 'the shadow server has no room']),
]);

/**
 * `… for column 'c3' at row 2`, or on MariaDB `… for column \`db\`.\`table\`.\`c3\` at row 2`: the
 * place, which is all that is taken of the message.
 */
const PLACE = /column (?:'((?:[^']|'')+)'|(?:`[^`]*`\.)*`([^`]+)`) at row (\d+)$/;

/** What a place in a staging statement stands for. */
export interface StagePlaces {
  /** The key of the row with this number in the statement, from 1. */
  readonly key: (row: number) => string | undefined;
  /** The table's column behind a staging column. */
  readonly column: (staged: string) => string | undefined;
}

/**
 * Turns what a statement threw into ours, without row values: the server's error is not kept as a
 * cause, since its texts quote them. What did not come from the server, and a lost connection,
 * stays as it is for the connection's owner to judge. `places` names row and column where staging
 * was refused.
 */
export function applyFailure(error: unknown, table: string, places?: StagePlaces): unknown {
  const known = serverError(error);
  if (error instanceof UnderstudyError || known === null || isConnectionLoss(error)) return error;
  const transient = TRANSIENT.get(known.errno);
  if (transient !== undefined) {
    return new UnderstudyError('APPLY_BLOCKED', transient, { table, detail: tellable(error) });
  }
  const place = PLACE.exec(known.sqlMessage);
  const named = place?.[1] ?? place?.[2];
  const row = place?.[3];
  const key = row === undefined ? undefined : places?.key(Number(row));
  const column = named === undefined ? undefined : (places?.column(named) ?? named);
  return new UnderstudyError('APPLY_FAILED', 'the shadow refused a change', {
    table,
    ...(column !== undefined && { column }),
    ...(key !== undefined && { key }),
    detail: `${String(known.errno)} ${known.code}`,
  });
}
