import { expect, it } from 'vitest';
import { Pulse } from '../../../src/apply/pulse.ts';

it('learns the pause between heartbeats by the connector’s clock, also from a backlog', () => {
  let now = 1_000;
  const pulse = new Pulse(() => now);
  expect([pulse.silentMs, pulse.heartbeatMs, pulse.heartbeatEveryMs]).toEqual([0, null, null]);
  const beat = (eventTimeMs: number): void => {
    pulse.came({ kind: 'heartbeat', eventTimeMs });
  };
  for (const at of [5_000, 10_000, 15_200]) beat(at);
  expect(pulse.heartbeatEveryMs).toBe(5_000);
  now += 700;
  pulse.came({ kind: 'message', eventTimeMs: 99_000 });
  now += 300;
  expect([pulse.silentMs, pulse.heartbeatMs]).toEqual([300, 1_000]);
  // One pause in which the connector was away does not blind it; a clock set back tells nothing.
  for (const at of [600_000, 605_100, 1_000, 6_300]) beat(at);
  expect(pulse.heartbeatEveryMs).toBe(5_100);
  pulse.wrote();
  now += 40;
  expect(pulse.unwrittenMs).toBe(40);
});
