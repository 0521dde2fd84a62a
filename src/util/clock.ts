/**
 * Epoch milliseconds that only go forward, evenly: the process's start by the system's clock, and
 * what has passed since. For durations; a clock that is set meanwhile changes none.
 */
export function steadyNow(): number {
  return performance.timeOrigin + performance.now();
}
