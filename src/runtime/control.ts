import type { Follower } from '../apply/follower.ts';
import type { FollowerControl } from '../drift/follower-control.ts';
import type { Stage } from './stage.ts';

/** A stage's follower, as a drift check and a re-read steer it. */
export function controlOf(stage: Stage, follower: Follower): FollowerControl {
  return {
    freeze: () => follower.freeze(),
    progress: async () => {
      const { position, unproven, unprovenEvicted } = await stage.database.progress();
      return { position, unproven, unprovenEvicted };
    },
    prove: (txIds) => stage.database.proveVisible(stage.holder.fence, txIds),
    runToBarrier: (run) => follower.runToBarrier(run),
    resume: () => {
      follower.resume();
    },
  };
}
