/** A row that both sides changed, put together column by column. */

/** Values as exact texts, by column; null for NULL. */
export type ColumnTexts = Readonly<Record<string, string | null>>;

/**
 * The columns that take production's value, of a row that had `base` before both changed it: those that
 * production alone changed. What the candidate alone changed stays, and so does what both changed alike. Null
 * if both changed one column to different values; a base that is not known (null) was changed throughout.
 */
export function mergedColumns(
  base: ColumnTexts | null,
  production: ColumnTexts,
  candidate: ColumnTexts,
): readonly string[] | null {
  const taken: string[] = [];
  for (const [column, theirs] of Object.entries(production)) {
    const ours = candidate[column];
    if (ours === theirs) continue;
    const was = base?.[column];
    if (was !== undefined && was === theirs) continue;
    if (was === undefined || was !== ours) return null;
    taken.push(column);
  }
  return taken;
}
