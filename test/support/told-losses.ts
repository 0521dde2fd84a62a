/** Which finding of `doctor` tells of which loss; tests show each of them being made. */
import type { LossId } from '../../src/decode/losses/losses.ts';

/** Made of the columns' types and the connector's settings, or of the schema of a sampled record. */
const BY_COLUMN = [
  ...(['default-for-null', 'zero-date', 'name-null', 'numeric-nan', 'numeric-scale'] as const),
  ...([
    'decimal-double',
    'float-snapshot',
    'real-as-float',
    'real-as-float-untold',
    'float4-null',
    'float4-untold',
  ] as const),
  ...(['boolean-integer', 'date-calendar', 'datetime-calendar', 'year-zero'] as const),
  ...(['time-connect', 'time-beyond-day', 'time-midnight', 'timestamp-nanoseconds'] as const),
  ...(['timetz-offset', 'interval-numeric', 'interval-infinity', 'array-dimensions'] as const),
  ...([
    'array-null-element',
    'array-time',
    'array-bits',
    'columns-omitted',
    'arrays-omitted',
  ] as const),
  ...(['column-excluded', 'varbit-length', 'sparsevec-size', 'json-rewritten'] as const),
  ...(['charset-lacks', 'charset-misread', 'charset-confused', 'charset-twice'] as const),
  ...(['char-binary', 'char-binary-untold', 'generated-absent'] as const),
] satisfies readonly LossId[];

/** By the id of the finding. */
export const TOLD: Readonly<Partial<Record<LossId, string>>> = {
  ...Object.fromEntries(BY_COLUMN.map((id) => [id, `column.${id}`])),
  'time-adjuster': 'connector.time-adjuster',
  'name-collision': 'connector.names-collide',
  'snapshot-unlocked': 'connector.snapshot-unlocked',
  'flattened-key-change': 'connector.flat-deletes-dropped',
  'unavailable-null': 'table.toast',
  'timetz-seconds': 'table.timetz',
  refcursor: 'table.refcursor',
  'identity-index': 'table.identity',
  'partition-twice': 'table.partitions',
  'domain-over-enum': 'production.enum-domain',
  'xa-rollback': 'production.xa',
  'row-image': 'production.row-image',
  'partial-json': 'production.partial-json',
  'compressed-events': 'production.compressed-events',
  'compressed-transactions': 'production.compressed-transactions',
  'table-name': 'table.name',
  'cascade-unseen': 'table.cascades',
  'year-zero-stops': 'table.year-zero',
  'compressed-column': 'table.stops-compressed',
  'inet-ddl': 'table.stops-inet6',
};

/** Findings that only a database's own catalogue and settings give, of one connector. */
export function toldByCatalogue(
  connector: string,
  losses: Readonly<Record<LossId, { readonly connectors: readonly string[] }>>,
): readonly string[] {
  return Object.entries(TOLD).flatMap(([loss, finding]) =>
    /^(table|production)\./.test(finding) && losses[loss as LossId].connectors.includes(connector)
      ? [finding]
      : [],
  );
}
