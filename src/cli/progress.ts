import { humanDuration, type Terminal } from './terminal.ts';

const WIDTH = 28;
const REDRAW_MS = 100;

/**
 * A progress line with bar, count, rate and remaining time; redrawn in place on a terminal and
 * silent elsewhere. The rate is that of the last seconds, so that a change of pace shows.
 */
export class ProgressLine {
  readonly #terminal: Terminal;
  readonly #unit: string;
  readonly #samples: { at: number; done: number }[] = [];
  #drawnAt = 0;
  #drawn = false;

  constructor(terminal: Terminal, unit: string) {
    this.#terminal = terminal;
    this.#unit = unit;
  }

  update(label: string, done: number, total: number): void {
    if (!this.#terminal.errIsTerminal) return;
    const now = performance.now();
    this.#samples.push({ at: now, done });
    while (this.#samples.length > 2 && now - (this.#samples[0]?.at ?? now) > 5_000) {
      this.#samples.shift();
    }
    if (now - this.#drawnAt < REDRAW_MS && done < total) return;
    this.#drawnAt = now;
    this.#drawn = true;
    this.#terminal.err(`\r\u001b[2K${this.#render(label, done, total)}`);
  }

  /** Begins to measure anew: what comes next has a pace of its own. */
  restart(): void {
    this.#samples.length = 0;
  }

  #render(label: string, done: number, total: number): string {
    const share = total === 0 ? 1 : Math.min(1, done / total);
    const filled = Math.round(share * WIDTH);
    const bar = '█'.repeat(filled) + '░'.repeat(WIDTH - filled);
    const rate = this.#rate();
    const rest =
      rate > 0 && done < total ? `, ${humanDuration(((total - done) / rate) * 1_000)} left` : '';
    const speed =
      rate > 0 ? ` ${Math.round(rate).toLocaleString('en')} ${this.#unit}/s${rest}` : '';
    const count = `${done.toLocaleString('en')}/${total.toLocaleString('en')}`;
    return `${label} ${bar} ${Math.floor(share * 100)}% ${count}${speed}`;
  }

  #rate(): number {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.at - first.at < 200) return 0;
    return ((last.done - first.done) / (last.at - first.at)) * 1_000;
  }

  /** Takes the line away, for what is worth keeping to be written in its place. */
  clear(): void {
    if (this.#drawn) this.#terminal.err('\r\u001b[2K');
    this.#drawn = false;
  }

  /** Leaves the last line standing. */
  end(): void {
    if (this.#drawn) this.#terminal.err('\n');
    this.#drawn = false;
  }
}
