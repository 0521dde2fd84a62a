import type { FlatDeletes } from './forms/form.ts';
import type { NameMode } from './names.ts';
import type { BinaryMode } from './types/binary.ts';

/** time.precision.mode. */
export type TimeMode =
  | 'adaptive'
  | 'adaptive_time_microseconds'
  | 'connect'
  | 'isostring'
  | 'microseconds'
  | 'nanoseconds';

/**
 * The connector's `*.handling.mode` settings as declared in the configuration. Records with a
 * schema need only `binary` (text made from bytes has no semantic name); records without a schema
 * need those of the types they hold. What is needed and not declared is an error, never a default.
 */
export interface ConnectorModes {
  readonly time?: TimeMode | undefined;
  readonly decimal?: 'precise' | 'double' | 'string' | undefined;
  /** bigint.unsigned.handling.mode. */
  readonly bigintUnsigned?: 'long' | 'precise' | undefined;
  readonly binary?: BinaryMode | undefined;
  readonly hstore?: 'json' | 'map' | undefined;
  readonly interval?: 'numeric' | 'string' | undefined;
  /** field.name.adjustment.mode; `none` where not declared, which is the connector's default. */
  readonly names?: NameMode | undefined;
  /** Of form `flat`: its transform's delete.tombstone.handling.mode; `tombstone` is its default. */
  readonly deletes?: FlatDeletes | undefined;
}
