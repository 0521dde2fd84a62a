import type { BootstrapState } from '../dialect/copying.ts';

export type BootstrapPhase =
  'waiting-for-connector' | 'waiting-for-transactions' | 'copying' | 'handing-over';

export interface BootstrapProgress {
  readonly phase: BootstrapPhase;
  readonly tables: number;
  readonly tablesDone: number;
  readonly rows: number;
  /** On production's disk, about; of what is to be copied, and of what is. */
  readonly bytes: number;
  readonly bytesDone: number;
  /** Over the last seconds; null while there is nothing to measure. */
  readonly bytesPerSecond: number | null;
  readonly remainingMs: number | null;
}

/** What the rate is measured over. */
const WINDOW_MS = 20_000;
const TELL_MS = 200;

/**
 * Counts what is copied. A range that is under way counts by the bytes that went through, up to
 * its size on disk; what they are in the end need not be the same.
 */
export class CopyMeter {
  readonly #tell: ((progress: BootstrapProgress) => void) | undefined;
  #phase: BootstrapPhase = 'waiting-for-connector';
  #totals = { tables: 0, tablesDone: 0, rows: 0, bytes: 0, bytesDone: 0 };
  /** Of ranges under way. */
  #passing = 0;
  #samples: { readonly at: number; readonly bytes: number }[] = [];
  #toldAt = -Infinity;

  constructor(tell: ((progress: BootstrapProgress) => void) | undefined) {
    this.#tell = tell;
  }

  enter(phase: BootstrapPhase): void {
    this.#phase = phase;
    this.#samples = [];
    this.#report(true);
  }

  /** What is there at the beginning of a round. `tables`: of all. */
  start(state: BootstrapState, tables: number): void {
    const sum = (of: (table: BootstrapState['tables'][number]) => number): number =>
      state.tables.reduce((total, table) => total + of(table), 0);
    this.#totals = {
      tables,
      tablesDone: state.tables.filter((table) => table.done).length,
      rows: sum((table) => table.rows),
      bytes: sum((table) => table.bytes),
      bytesDone: sum((table) => table.bytesDone),
    };
    this.#passing = 0;
    this.#samples = [];
    this.#report(true);
  }

  tableDone(): void {
    this.#totals.tablesDone += 1;
    this.#report(true);
  }

  /** Begins a range; the functions tell of bytes that went through, and of its end. */
  range(size: number): { passed(bytes: number): void; ended(rows: number | null): void } {
    let counted = 0;
    return {
      passed: (bytes) => {
        const more = Math.min(bytes, size - counted);
        counted += more;
        this.#passing += more;
        this.#report(false);
      },
      ended: (rows) => {
        this.#passing -= counted;
        if (rows === null) return;
        this.#totals.rows += rows;
        this.#totals.bytesDone += size;
        this.#report(false);
      },
    };
  }

  #report(now: boolean): void {
    if (this.#tell === undefined) return;
    const at = performance.now();
    if (!now && at - this.#toldAt < TELL_MS) return;
    this.#toldAt = at;
    const bytesDone = this.#totals.bytesDone + this.#passing;
    this.#samples.push({ at, bytes: bytesDone });
    while (this.#samples.length > 2 && at - (this.#samples[0]?.at ?? at) > WINDOW_MS) {
      this.#samples.shift();
    }
    const rate = this.#rate();
    const left = Math.max(0, this.#totals.bytes - bytesDone);
    this.#tell({
      phase: this.#phase,
      ...this.#totals,
      bytesDone,
      bytesPerSecond: rate,
      remainingMs: rate === null ? null : Math.round((left / rate) * 1000),
    });
  }

  #rate(): number | null {
    const [first] = this.#samples;
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.at - first.at < 500) return null;
    const rate = ((last.bytes - first.bytes) / (last.at - first.at)) * 1000;
    return rate > 0 ? Math.round(rate) : null;
  }
}
