/** Rows of the control database, from and to what the port shows of them. */
import type { RequestRow, RolloutRow } from '../dialect.ts';

/** A rollout as it is read: times in epoch milliseconds. */
export type RolloutRecord = Omit<RolloutRow, 'createdAt' | 'expiresAt'> & {
  readonly created: number;
  readonly expires: number | null;
};

/** A request as it is read: arguments and outcome as JSON texts. */
export type RequestRecord = Omit<RequestRow, 'args' | 'outcome'> & {
  readonly args: string;
  readonly outcome: string | null;
};

export function toRollout({ created, expires, ...row }: RolloutRecord): RolloutRow {
  return {
    ...row,
    createdAt: new Date(created),
    expiresAt: expires === null ? null : new Date(expires),
  };
}

export function toRequest(row: RequestRecord): RequestRow {
  return {
    ...row,
    args: JSON.parse(row.args) as unknown,
    outcome: row.outcome === null ? null : (JSON.parse(row.outcome) as unknown),
  };
}

/** Bigints become text; undefined becomes null. */
export function toJson(value: unknown): string {
  const json: unknown = JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'bigint' ? inner.toString() : inner,
  );
  return typeof json === 'string' ? json : 'null';
}
