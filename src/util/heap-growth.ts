import { PerformanceObserver } from 'node:perf_hooks';
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';

/**
 * Where the young generation stops growing. V8 lets it grow to 128 MiB, of which little is in use after
 * a collection; a quarter of that costs no time that could be measured.
 */
const ENOUGH_BYTES = 24 * 1024 * 1024;

/**
 * How much V8 may add to what is in use before it collects again. By itself it takes up to three times
 * as much, heap and buffers each, as it likes the time: what one process had resident for one large
 * transaction lay between 270 and 360 MiB, and is 220 with this. What is in use is small, so that a
 * collection is short.
 */
const GROWTH_PERCENT = 20;

/**
 * Keeps V8's heap close to what is in use, in this process and from now on. V8 reads these settings
 * whenever it would grow; its bounds it reads only when the process starts, and a program cannot
 * count on options there.
 */
export function boundHeapGrowth(): void {
  setFlagsFromString(`--heap-growing-percent=${String(GROWTH_PERCENT)}`);
  let grows = true;
  const observer = new PerformanceObserver(() => {
    const young = getHeapSpaceStatistics().find((space) => space.space_name === 'new_space');
    const may = (young?.space_size ?? 0) < ENOUGH_BYTES;
    if (may === grows) return;
    grows = may;
    setFlagsFromString(`--semi-space-growth-factor=${grows ? '2' : '1'}`);
  });
  observer.observe({ entryTypes: ['gc'] });
}
