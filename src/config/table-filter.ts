import { tableName, type TableId } from '../change/table-id.ts';
import { escapePattern } from '../util/pattern.ts';

/**
 * Which tables take part: those that match an include pattern and no exclude pattern. A pattern
 * is `schema.table` with `*` for any characters in either part.
 */
export function tableFilter(config: {
  readonly include: readonly string[];
  readonly exclude: readonly string[];
}): (table: TableId) => boolean {
  const include = config.include.map(patternToRegExp);
  const exclude = config.exclude.map(patternToRegExp);
  const decided = new Map<string, boolean>();
  return (table) => {
    const name = tableName(table);
    const known = decided.get(name);
    if (known !== undefined) return known;
    const text = `${table.schema}.${table.name}`;
    const decision =
      include.some((pattern) => pattern.test(text)) && !exclude.some((p) => p.test(text));
    decided.set(name, decision);
    return decision;
  };
}

/** Which tables are followed: those that take part, but for the connector's own signal table. */
export function followedTables(config: {
  readonly tables: { readonly include: readonly string[]; readonly exclude: readonly string[] };
  readonly source: { readonly signalTable?: string | undefined };
}): (table: TableId) => boolean {
  const { tables, source } = config;
  const own = source.signalTable === undefined ? [] : [source.signalTable];
  return tableFilter({ include: tables.include, exclude: [...tables.exclude, ...own] });
}

/** Which tables rollouts keep to themselves (`overlay.isolate`). */
export function isolatedTables({
  overlay,
}: {
  readonly overlay: { readonly isolate: readonly string[] };
}): (table: TableId) => boolean {
  return tableFilter({ include: overlay.isolate, exclude: [] });
}

function patternToRegExp(pattern: string): RegExp {
  const source = pattern.split('*').map(escapePattern).join('.*');
  return new RegExp(`^${source}$`, 's');
}
