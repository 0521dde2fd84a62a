/** The server's clock, whatever the statement: epoch microseconds, as an expression. */
export const NOW_US = momentUs('SYSDATE(6)');

/** Epoch microseconds of a TIMESTAMP(6), as an expression. */
export function momentUs(timestamp: string): string {
  return `CAST(UNIX_TIMESTAMP(${timestamp}) * 1000000 AS SIGNED)`;
}
