/** Rollouts whose findings are to be taken with care. */
import type { Diagnosis } from '../dialect/dialect.ts';

export interface RolloutFacts {
  readonly name: string;
  readonly alarms: readonly { readonly what: string; readonly cure: string }[];
}

export function diagnoseRollouts(rollouts: readonly RolloutFacts[]): readonly Diagnosis[] {
  return rollouts.flatMap(({ name, alarms }) =>
    alarms.map(({ what, cure }): Diagnosis => {
      const message = `rollout ${name}: ${what}`;
      return { id: 'rollout.alarm', level: 'warning', message, cure: `${capital(cure)}.` };
    }),
  );
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
