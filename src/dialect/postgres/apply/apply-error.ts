import { DatabaseError } from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { RowRefused } from '../../dead-letters.ts';
import { isConnectionLoss, SQLSTATE, tellable } from '../session/errors.ts';

/** Conditions that pass by themselves or by the server's operator: trying again is the cure. */
const TRANSIENT: ReadonlyMap<string, string> = new Map([
  // In READ COMMITTED too: a row moved to another partition while we waited for it.
  [SQLSTATE.serializationFailure, 'a session of the candidate moved a row of the batch'],
  [SQLSTATE.deadlockDetected, 'the batch and a session of the candidate waited for each other'],
  [SQLSTATE.lockNotAvailable, 'a session of the candidate holds a lock'],
  [SQLSTATE.diskFull, 'the shadow server has no room on its disk'],
  [SQLSTATE.outOfMemory, 'the shadow server is out of memory'],
  [SQLSTATE.queryCanceled, 'a statement was cancelled on the shadow server'],
]);

/**
 * Classes of errors that are due to what a row holds: values and encodings (22), constraints (23),
 * limits of a row or an index entry (54), triggers that raise one (P0, in fallback mode).
 */
const OF_THE_ROW: ReadonlySet<string> = new Set(['22', '23', '54', 'P0']);

/** Whether a row, or one that is there already, is why the server refused. */
export function isOfTheRow({ code = '' }: DatabaseError): boolean {
  return OF_THE_ROW.has(code.slice(0, 2));
}

/** `COPY understudy_stage_…, line 2, column c3: "…"`: the place, never the value. */
const COPY_PLACE = /^COPY \S+, line (\d+)(?:, column (\w+))?/;

/** What a place in a COPY stands for. */
export interface CopyPlaces {
  /** The key of the row in this line, from 1. */
  readonly key: (line: number) => string | undefined;
  /** The table's column behind a staging column. */
  readonly column: (staged: string) => string | undefined;
}

/** A unique constraint's refusal. */
export interface UniqueViolation {
  readonly constraint: string;
  /** Where the constraint is: the table, or one of its partitions. Null if the server is silent. */
  readonly schema: string | null;
  readonly table: string | null;
}

/** The unique constraint that refused a write, or null if the error is another. */
export function uniqueViolation(error: unknown): UniqueViolation | null {
  if (!(error instanceof DatabaseError) || error.code !== SQLSTATE.uniqueViolation) return null;
  return {
    constraint: error.constraint ?? '',
    schema: error.schema ?? null,
    table: error.table ?? null,
  };
}

/**
 * Turns what a statement threw into ours, without row values: the server's error is not kept as a
 * cause, since its texts quote them. What did not come from the server, and a lost connection,
 * stays as it is for the connection's owner to judge. `places` names row and column where a COPY
 * was refused.
 */
export function applyFailure(error: unknown, table: string, places?: CopyPlaces): unknown {
  if (!(error instanceof DatabaseError) || isConnectionLoss(error)) return error;
  const detail = tellable(error);
  const transient = TRANSIENT.get(error.code ?? '');
  if (transient !== undefined) {
    return new UnderstudyError('APPLY_BLOCKED', transient, { table, detail });
  }
  const place = COPY_PLACE.exec(error.where ?? '');
  const key = place?.[1] === undefined ? undefined : places?.key(Number(place[1]));
  const staged = place?.[2] === undefined ? undefined : places?.column(place[2]);
  const column = error.column ?? staged;
  const what = 'the shadow refused a change';
  const context = {
    table,
    ...(column !== undefined && { column }),
    ...(key !== undefined && { key }),
    detail,
  };
  if (isOfTheRow(error)) return new RowRefused(what, context);
  return new UnderstudyError('APPLY_FAILED', what, context);
}
