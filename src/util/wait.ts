/** Sleeps `ms`; rejects with the signal's reason as soon as it aborts. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** Exponential back-off with jitter: attempt 0 gives about `baseMs`, never above `maxMs`. */
export function backoffMs(attempt: number, baseMs = 100, maxMs = 10_000): number {
  const exponential = Math.min(maxMs / 1.25, baseMs * 2 ** Math.min(attempt, 20));
  return Math.round(exponential * (0.75 + Math.random() * 0.5));
}

/**
 * Polls `probe` until it returns something other than undefined. Rejects with `timeout()` when
 * `timeoutMs` have passed, or with the signal's reason.
 */
export async function pollUntil<T>(options: {
  readonly probe: () => Promise<T | undefined>;
  readonly everyMs: number;
  readonly timeoutMs: number;
  readonly timeout: () => Error;
  readonly signal?: AbortSignal | undefined;
}): Promise<T> {
  const deadline = performance.now() + options.timeoutMs;
  for (;;) {
    const found = await options.probe();
    if (found !== undefined) return found;
    if (performance.now() >= deadline) throw options.timeout();
    await sleep(options.everyMs, options.signal);
  }
}

/** Rejects with the signal's reason once it aborts; never resolves. Holds nothing alive. */
export function rejectWhenAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const onAbort = (): void => {
      reject(signal.reason as Error);
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
}
