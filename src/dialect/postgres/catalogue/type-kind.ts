import type { ColumnType, TypeKind } from '../../../schema/table-schema.ts';

/** A type as `pg_type` describes it; `base`/`element` point on within the same list. */
export interface TypeRow {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** `typtype`: b base, c composite, d domain, e enum, m multirange, p pseudo, r range. */
  readonly class: string;
  /** Type beneath a domain, else 0. */
  readonly base: number;
  /** Modifier the domain gives its base type, else -1. */
  readonly baseModifier: number;
  /** Element type if this is a true array type, else 0. */
  readonly element: number;
  /** Of an enum, in their order. */
  readonly labels?: readonly string[] | null;
}

const BUILT_IN = new Map<string, TypeKind>([
  ['bool', 'boolean'],
  ['int2', 'int16'],
  ['int4', 'int32'],
  ['int8', 'int64'],
  ['float4', 'float32'],
  ['float8', 'float64'],
  ['numeric', 'numeric'],
  ['money', 'money'],
  ['text', 'text'],
  ['varchar', 'text'],
  ['name', 'text'],
  ['bpchar', 'char'],
  ['bytea', 'bytes'],
  ['bit', 'bits'],
  ['varbit', 'bits'],
  ['date', 'date'],
  ['time', 'time'],
  ['timetz', 'timetz'],
  ['timestamp', 'timestamp'],
  ['timestamptz', 'timestamptz'],
  ['interval', 'interval'],
  ['uuid', 'uuid'],
  ['json', 'json'],
  ['jsonb', 'jsonb'],
  ['xml', 'xml'],
  ['point', 'point'],
]);

/** Types of well-known extensions; they live in any schema. */
const EXTENSION = new Map<string, TypeKind>([
  ['citext', 'text'],
  ['hstore', 'hstore'],
  ['geometry', 'geometry'],
  ['geography', 'geometry'],
  ['vector', 'vector'],
  ['halfvec', 'vector'],
  ['sparsevec', 'vector'],
]);

/** Offset PostgreSQL adds to length-like modifiers (VARHDRSZ). */
const HEADER = 4;
/** An interval's modifier holds its fields above and its precision in the low half. */
const NO_PRECISION = 0xffff;
/** Kinds whose modifier is a precision and nothing else. */
const WITH_PRECISION: ReadonlySet<TypeKind> = new Set<TypeKind>([
  'time',
  'timetz',
  'timestamp',
  'timestamptz',
]);

/**
 * Describes a column's type from the catalogue. Domains and domains over domains count as the
 * type beneath them. `sql` and `domainOf` are texts made by `format_type`, with a schema wherever
 * the type is not built in.
 */
export function columnType(options: {
  readonly types: ReadonlyMap<number, TypeRow>;
  readonly oid: number;
  readonly modifier: number;
  readonly sql: string;
  readonly domainOf: string | null;
}): ColumnType {
  const { types, sql, domainOf } = options;
  const { type, modifier } = beneathDomains(types, options.oid, options.modifier);
  if (type === undefined) return { sql, kind: 'other' };
  const domain = domainOf === null ? {} : { domainOf };
  if (type.element !== 0) {
    const elementSql = (domainOf ?? sql).replace(/\[\]$/, '');
    const element = columnType({
      types,
      oid: type.element,
      modifier,
      sql: elementSql,
      domainOf: null,
    });
    return { sql, kind: 'array', element, ...domain };
  }
  const kind = kindOf(type);
  const { labels: list = null } = type;
  const labels = list === null ? {} : { labels: list };
  return { sql, kind, ...domain, ...labels, ...modifierFacts(kind, type.name, modifier) };
}

function beneathDomains(
  types: ReadonlyMap<number, TypeRow>,
  oid: number,
  modifier: number,
): { readonly type: TypeRow | undefined; readonly modifier: number } {
  let type = types.get(oid);
  let known = modifier;
  while (type?.class === 'd') {
    known = type.baseModifier;
    type = types.get(type.base);
  }
  return { type, modifier: known };
}

function kindOf(type: TypeRow): TypeKind {
  switch (type.class) {
    case 'e':
      return 'enum';
    case 'c':
      return 'composite';
    case 'r':
      return 'range';
    default:
      return (
        (type.schema === 'pg_catalog' ? BUILT_IN.get(type.name) : EXTENSION.get(type.name)) ??
        'other'
      );
  }
}

function modifierFacts(
  kind: TypeKind,
  name: string,
  modifier: number,
): Pick<ColumnType, 'length' | 'precision' | 'scale'> {
  if (modifier < 0) return {};
  if (name === 'varchar' || name === 'bpchar') return { length: modifier - HEADER };
  if (kind === 'bits') return { length: modifier };
  if (kind === 'numeric') {
    const packed = modifier - HEADER;
    // 11 bits, two's complement: a negative scale rounds before the decimal point.
    return { precision: (packed >> 16) & 0xffff, scale: ((packed & 0x7ff) ^ 0x400) - 0x400 };
  }
  if (WITH_PRECISION.has(kind)) return { precision: modifier };
  if (kind !== 'interval') return {};
  const precision = modifier & NO_PRECISION;
  return precision === NO_PRECISION ? {} : { precision };
}
