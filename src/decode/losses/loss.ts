/** What a loss says of itself; the list is in losses.ts. */
import type { SourcePosition } from '../../change/position.ts';

type ConnectorName = SourcePosition['connector'];

/**
 * Who can tell: `record` while decoding, `doctor` from settings and catalogue before anything is
 * applied, `drift` by comparing rows.
 */
export type Detection = 'record' | 'doctor' | 'drift';

/**
 * What it does to a drift check. `none`: the database compares the rows as equal. `differs`: rows
 * are reported as drift, and this may be why. `unknown`: the value is in doubt and is never called
 * equal. `stops`: connector or decoder stop before a wrong row is written.
 */
export type DriftEffect = 'none' | 'differs' | 'unknown' | 'stops';

export interface Loss {
  readonly connectors: readonly ConnectorName[];
  /** The connector's setting that causes it, or null where no setting does. */
  readonly setting: string | null;
  /** What is lost or broken. */
  readonly loses: string;
  readonly cause: string;
  readonly detection: readonly Detection[];
  readonly cure: string;
  readonly effect: DriftEffect;
}

export const FOREWARNED: readonly Detection[] = ['doctor', 'drift'];

export const PG: readonly ConnectorName[] = ['postgresql'];
export const MYSQL: readonly ConnectorName[] = ['mysql'];
export const MARIADB: readonly ConnectorName[] = ['mariadb'];
export const BINLOG: readonly ConnectorName[] = ['mysql', 'mariadb'];
export const ALL: readonly ConnectorName[] = ['postgresql', 'mysql', 'mariadb'];
