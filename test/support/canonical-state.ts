import pg from 'pg';

/**
 * The one oracle: all rows of all user tables as text, in an order of their own, so that two
 * databases hold the same rows if and only if their states are deeply equal. Schemas of ours are
 * left out.
 */
export type CanonicalState = Readonly<Record<string, readonly string[]>>;

const TABLES = `
  SELECT n.nspname AS schema, c.relname AS name,
         (SELECT string_agg(format('%I', a.attname), ', ' ORDER BY a.attnum)
            FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
           AS columns
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
     AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', 'understudy')
   ORDER BY 1, 2`;

/** Settings that decide how values look as text. */
const SETTINGS = `SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET extra_float_digits = 1`;

export async function canonicalState(
  url: string,
  options: {
    /** Reads a table's rows from elsewhere, e.g. from a view of production's image. */
    readonly relation?: (schema: string, name: string) => string;
    /** `schema.table`, unquoted. They are not truncated meanwhile, which a snapshot would show. */
    readonly only?: readonly string[];
    /** Reads something else of the same moment. */
    readonly within?: (client: pg.Client) => Promise<void>;
  } = {},
): Promise<CanonicalState> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(SETTINGS);
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    if (options.only !== undefined) {
      const names = options.only.map((n) => n.split('.').map(pg.escapeIdentifier).join('.'));
      await client.query(`LOCK TABLE ${names.join(', ')} IN ACCESS SHARE MODE`);
    }
    const tables = await client.query<{ schema: string; name: string; columns: string }>(TABLES);
    const state: Record<string, readonly string[]> = {};
    for (const { schema, name, columns } of tables.rows) {
      const key = `${schema}.${name}`;
      if (options.only !== undefined && !options.only.includes(key)) continue;
      const relation =
        options.relation?.(schema, name) ??
        `${pg.escapeIdentifier(schema)}.${pg.escapeIdentifier(name)}`;
      const { rows } = await client.query<{ row: string }>(
        `SELECT row FROM (SELECT ROW(${columns})::text AS row FROM ${relation}) r
          ORDER BY row COLLATE "C"`,
      );
      state[key] = rows.map((row) => row.row);
    }
    await options.within?.(client);
    return state;
  } finally {
    await client.end();
  }
}

/** Production's image in a rollout, through the views beside the tables. */
export function productionView(schema: string, name: string): string {
  return `${pg.escapeIdentifier(`${schema}__production`)}.${pg.escapeIdentifier(name)}`;
}
