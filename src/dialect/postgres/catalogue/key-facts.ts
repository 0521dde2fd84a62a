import type { ClientBase } from 'pg';
import { tableName } from '../../../change/table-id.ts';
import type { ColumnSchema, TypeKind } from '../../../schema/table-schema.ts';
import { escapeIdentifier } from 'pg';

/** How the server compares a column that is part of a unique index. */
export interface Comparison {
  /** The index's equality operator with its schema: safe under any search_path. */
  readonly equals: string;
  /** False for a collation under which different texts may be equal. */
  readonly deterministic: boolean;
  /** The operator is PostgreSQL's own. */
  readonly builtIn: boolean;
}

/** `tableName()` to column to comparison, for all columns of unique indexes. */
export type Comparisons = ReadonlyMap<string, ReadonlyMap<string, Comparison>>;

interface Row {
  readonly schema: string;
  readonly name: string;
  readonly column: string;
  readonly operator: string;
  readonly operatorSchema: string;
  readonly deterministic: boolean;
}

/** Strategy 3 of a btree operator family is equality. */
const QUERY = `SELECT n.nspname AS schema, c.relname AS name, a.attname AS column,
    o.oprname AS operator, onsp.nspname AS "operatorSchema",
    COALESCE(l.collisdeterministic, true) AS deterministic
  FROM pg_catalog.pg_index i
  CROSS JOIN LATERAL unnest(i.indclass::oid[], i.indkey::int2[], i.indcollation::oid[])
    AS u(opclass, num, coll)
  JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.num
  JOIN pg_catalog.pg_opclass oc ON oc.oid = u.opclass
  JOIN pg_catalog.pg_amop m ON m.amopfamily = oc.opcfamily AND m.amopstrategy = 3
    AND m.amoplefttype = oc.opcintype AND m.amoprighttype = oc.opcintype
  JOIN pg_catalog.pg_operator o ON o.oid = m.amopopr
  JOIN pg_catalog.pg_namespace onsp ON onsp.oid = o.oprnamespace
  LEFT JOIN pg_catalog.pg_collation l ON l.oid = u.coll
  WHERE i.indisunique AND i.indisvalid AND n.nspname !~ '^pg_'
  ORDER BY 1, 2, 3, i.indisprimary`;

/** Reads how the columns of all unique indexes compare. */
export async function readComparisons(client: ClientBase): Promise<Comparisons> {
  const tables = new Map<string, Map<string, Comparison>>();
  for (const row of (await client.query<Row>(QUERY)).rows) {
    const name = tableName({ schema: row.schema, name: row.name });
    const columns = tables.get(name) ?? new Map<string, Comparison>();
    columns.set(row.column, {
      equals: `OPERATOR(${escapeIdentifier(row.operatorSchema)}.${row.operator})`,
      deterministic: row.deterministic,
      builtIn: row.operatorSchema === 'pg_catalog',
    });
    tables.set(name, columns);
  }
  return tables;
}

/** Kinds of which two values are equal only if they are spelled alike. */
const EXACT: ReadonlySet<TypeKind> = new Set<TypeKind>([
  'boolean',
  'int16',
  'int32',
  'int64',
  'text',
  'bytes',
  'date',
  'time',
  'timestamp',
  'timestamptz',
  'uuid',
  'enum',
]);

/**
 * True if equal values of the column are always identical. False for `citext`, `numeric` without a scale
 * (1.0 is 1.00), floats (0 is -0), padded `char`, nondeterministic collations: there two spellings name
 * one row, and an update may change the spelling alone.
 */
export function isExact({ type }: ColumnSchema, comparison: Comparison): boolean {
  const isSpelledOnce =
    EXACT.has(type.kind) || (type.kind === 'numeric' && type.scale !== undefined);
  return isSpelledOnce && comparison.deterministic && comparison.builtIn;
}
