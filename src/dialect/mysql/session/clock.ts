/** The server's clock, whatever the statement: epoch microseconds, as an expression. */
export const NOW_US = 'CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)';
