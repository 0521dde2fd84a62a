/** Who wins in which table: `overlay.policy` and `tables.rules` of the configuration. */
import type { TableId } from '../change/table-id.ts';
import type { Config } from '../config/schema.ts';
import { tableFilter } from '../config/table-filter.ts';
import type { PolicyOf } from '../overlay/policy.ts';

export function tablePolicies({
  overlay,
  tables,
}: Pick<Config, 'overlay' | 'tables'>): PolicyOf<TableId> {
  const rules = tables.rules.map(({ match, policy, columns }) => ({
    ...{ policy, columns },
    matches: tableFilter({ include: [match], exclude: [] }),
  }));
  return (table) => {
    const matching = rules.filter(({ matches }) => matches(table));
    const policy = matching.findLast((rule) => rule.policy !== undefined)?.policy ?? overlay.policy;
    const columns = matching.findLast((rule) => rule.columns !== undefined)?.columns ?? {};
    return {
      rows: policy === 'source-wins' ? 'source-wins' : 'overlay-wins',
      ...{ others: policy, columns: new Map(Object.entries(columns)) },
    };
  };
}
