/** What drivers report that is no word of the server. */

/** True if the error, or one of those it gathers, has one of these codes. */
export function hasSocketCode(error: unknown, codes: ReadonlySet<string>): boolean {
  if (!(error instanceof Error)) return false;
  if ('code' in error && typeof error.code === 'string' && codes.has(error.code)) return true;
  return (
    error instanceof AggregateError && error.errors.some((inner) => hasSocketCode(inner, codes))
  );
}

/** The first error that `is` one, looking through what wraps it. */
export function causeThat<E extends Error>(
  error: unknown,
  is: (error: Error) => error is E,
): E | null {
  for (let e = error, depth = 0; e instanceof Error && depth < 10; e = e.cause, depth += 1) {
    if (is(e)) return e;
  }
  return null;
}

/** What may be told of an error that did not come from the server: its code, or what it says. */
export function tellableDriverError(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error';
  return 'code' in error && typeof error.code === 'string' ? error.code : error.message;
}
