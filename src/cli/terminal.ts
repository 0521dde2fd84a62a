/**
 * What a command may do to the outside: two streams, and whether a person is watching.
 * Progress and colours appear only on a terminal.
 */
export interface Terminal {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Standard output is a terminal: colours are allowed there. */
  readonly outIsTerminal: boolean;
  /** Standard error is a terminal: progress is drawn there. */
  readonly errIsTerminal: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborts at the first SIGINT or SIGTERM; the reason tells which (see Interrupt). */
  readonly signal: AbortSignal;
}

export class Interrupt extends Error {
  readonly signalName: 'SIGINT' | 'SIGTERM';

  constructor(signalName: 'SIGINT' | 'SIGTERM') {
    super(`stopped by ${signalName}`);
    this.name = 'Interrupt';
    this.signalName = signalName;
  }
}

/** A table with aligned columns; numbers to the right. */
export function renderTable(
  head: readonly string[],
  rows: readonly (readonly (string | number | null)[])[],
): string {
  const text = rows.map((row) => row.map((cell) => (cell === null ? '–' : String(cell))));
  const numeric = head.map((_, i) => rows.length > 0 && rows.every((r) => isNumber(r[i])));
  const width = head.map((name, i) =>
    Math.max(name.length, ...text.map((row) => row[i]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (numeric[i] ? cell.padStart(width[i] ?? 0) : cell.padEnd(width[i] ?? 0)))
      .join('  ')
      .trimEnd();
  return [line(head), ...text.map(line)].join('\n') + '\n';
}

function isNumber(cell: string | number | null | undefined): boolean {
  return typeof cell === 'number' || cell === null;
}

/** `340 ms`, `1.4 s`, `3 min 5 s`, `2 h 10 min`: for people, rounded to the last unit shown. */
export function humanDuration(ms: number): string {
  if (Math.round(ms) < 1_000) return `${Math.round(ms)} ms`;
  if (Math.round(ms / 100) < 600) return `${(ms / 1_000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.round(ms / 60_000);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
