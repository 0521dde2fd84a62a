import type { SourcePosition } from './position.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';

/** The stored form of a source position: bigint fields are text. */
type Stored<T> = { readonly [K in keyof T]: T[K] extends bigint | null ? string | null : T[K] };
type StoredSource = SourcePosition extends infer S
  ? S extends unknown
    ? Stored<S>
    : never
  : never;

/** JSON with 64-bit numbers as text, for they exceed what JSON readers keep exactly. */
export function sourceText(source: SourcePosition): string {
  return JSON.stringify(source, (_key, value: unknown) =>
    typeof value === 'bigint' ? value.toString() : value,
  );
}

/** Back from `sourceText`. INTERNAL if it is of no connector that this program knows. */
export function parseSource(text: string): SourcePosition {
  const stored = JSON.parse(text) as StoredSource;
  switch (stored.connector) {
    case 'postgresql':
      return {
        connector: stored.connector,
        lsn: toBigInt(stored.lsn),
        lastCommitLsn: toBigInt(stored.lastCommitLsn),
        txId: stored.txId,
      };
    case 'mysql':
    case 'mariadb':
      return {
        connector: stored.connector,
        file: stored.file,
        pos: toBigInt(stored.pos),
        row: stored.row,
        gtid: stored.gtid,
      };
    default:
      throw new UnderstudyError('INTERNAL', 'the stored source position is of no known kind');
  }
}

function toBigInt(text: string | null): bigint | null {
  return text === null ? null : BigInt(text);
}
