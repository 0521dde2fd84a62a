/** Without comments and texts, which may hold anything. */
export function plainStatement(ddl: string): string {
  return ddl
    .replaceAll(/'(?:[^'\\]|\\[^]|'')*'/g, "''")
    .replaceAll(/\/\*[^]*?\*\//g, ' ')
    .replaceAll(/(?:--\s|#)[^\n]*/g, ' ');
}
