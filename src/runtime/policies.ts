/** What rollouts do with rows that both sides wrote: `overlay.policy` and `tables.rules` of the configuration. */
import type { TableId } from '../change/table-id.ts';
import type { Config } from '../config/schema.ts';
import { tableFilter } from '../config/table-filter.ts';
import type { PairsOn } from '../overlay/pairing.ts';
import type { PolicyOf } from '../overlay/policy.ts';

export function tablePolicies({
  overlay,
  tables,
}: Pick<Config, 'overlay' | 'tables'>): PolicyOf<TableId> {
  const rules = tables.rules.map(({ match, policy, columns }) => ({
    ...{ policy, columns, isExact: !match.includes('*') },
    matches: tableFilter({ include: [match], exclude: [] }),
  }));
  return (table) => {
    const matching = rules.filter(({ matches }) => matches(table));
    const policy = matching.findLast((rule) => rule.policy !== undefined)?.policy ?? overlay.policy;
    const named = matching.findLast((rule) => rule.columns !== undefined);
    const columns = named?.columns ?? {};
    return {
      // With columns of its own a row is decided about column by column.
      rows:
        policy === 'source-wins' && Object.keys(columns).length === 0
          ? 'source-wins'
          : 'overlay-wins',
      ...{ others: policy, columns: new Map(Object.entries(columns)) },
      isExact: named?.isExact ?? false,
    };
  };
}

/** By which columns rows are paired; null if no rule says so. Of several rules for a table the last counts. */
export function pairedTables({ tables }: Pick<Config, 'tables'>): PairsOn | null {
  const rules = tables.rules.flatMap(({ match, pairOn }) =>
    pairOn === undefined
      ? []
      : [
          {
            rule: { columns: pairOn, isExact: !match.includes('*') },
            matches: tableFilter({ include: [match], exclude: [] }),
          },
        ],
  );
  if (rules.length === 0) return null;
  return (table) => rules.findLast(({ matches }) => matches(table))?.rule ?? null;
}
