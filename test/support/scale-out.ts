/** Processes of `run` that share one trunk, on real parts. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunningCli, Workplace } from './understudy.ts';

const WITHIN_MS = 40_000;

export interface TrunkStatus {
  readonly holder: string | null;
  readonly parked: number;
  readonly unknown: number;
  readonly deadLetters: number;
  readonly alone: string | null;
  readonly members: readonly { readonly state: string; readonly partitions: readonly string[] }[];
}

export interface ScaleOutParts {
  readonly workplace: Workplace;
  /** Asks the shadow server, without a process of its own. */
  readonly ask: (
    sql: string,
  ) => Promise<readonly Readonly<Record<string, string | number | bigint>>[]>;
  /** Before the names of our own tables there. */
  readonly ours: string;
  /** Waits until the topics hold all that production did. */
  readonly settle: () => Promise<unknown>;
  /** How many records the topics hold. */
  readonly ends: () => Promise<bigint>;
  /** All rows of production, or of the trunk. */
  readonly rows: (of: 'production' | 'trunk') => Promise<unknown>;
  /** Those that `ends` counts. */
  readonly topics: readonly string[];
}

export class ScaleOut {
  readonly runs: RunningCli[] = [];
  /** How many truncates production carried out. */
  truncates = 0;
  /** Below zero. */
  #passedOver = 0n;
  readonly #parts: ScaleOutParts;

  constructor(parts: ScaleOutParts) {
    this.#parts = parts;
  }

  async start(place = this.#parts.workplace): Promise<RunningCli> {
    const run = place.start(['run', '--only', 'trunk']);
    this.runs.push(run);
    await this.until('it begins', () => /"msg":"(following|standing-by)"/.test(run.stderr));
    return run;
  }

  async until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    const deadline = Date.now() + WITHIN_MS;
    while (!(await holds())) {
      if (Date.now() > deadline) {
        const said = this.runs.map(({ stderr }) => stderr.slice(-3_000)).join('\n----\n');
        const now = JSON.stringify(await this.status());
        throw new Error(`not within 40 s: ${what}\n${now}\n${said}`);
      }
      await sleep(100);
    }
  }

  async status(): Promise<TrunkStatus> {
    const { databases } = await this.#parts.workplace.json<{
      readonly databases: readonly TrunkStatus[];
    }>(['status']);
    const [trunk] = databases;
    if (trunk === undefined) throw new Error('there is no trunk');
    return trunk;
  }

  /** The processes that run and do not hold the trunk. */
  async members(): Promise<readonly RunningCli[]> {
    const { holder } = await this.status();
    const alive = this.runs.filter(
      ({ process: { exitCode, signalCode } }) => (exitCode ?? signalCode) === null,
    );
    return alive.filter(({ process: { pid } }) => !holder?.includes(`/${String(pid)}/`));
  }

  /** Waits until one member has something, and no other is thought there. */
  shared(): Promise<void> {
    return this.until('one member shares it', async () => {
      const members = await this.#ours('SELECT number FROM', 'member');
      const shares = await this.#ours('SELECT DISTINCT member AS number FROM', 'share');
      return (
        members.length === 1 && String(shares[0]?.['number']) === String(members[0]?.['number'])
      );
    });
  }

  /** The topics of which a member has something. */
  async sharedTopics(): Promise<readonly string[]> {
    const rows = await this.#ours('SELECT DISTINCT topic FROM', 'share');
    return rows.map(({ topic }) => String(topic));
  }

  /** In the end both have the same rows. Returns how many records more were written than there are. */
  async #same(): Promise<bigint> {
    await this.#parts.settle();
    const end = await this.#parts.ends();
    await this.until('all is applied', async () => {
      const places = await this.#ours('SELECT topic, next_offset AS next FROM', 'position');
      const of = places.filter(({ topic }) => this.#parts.topics.includes(String(topic)));
      return of.reduce((sum, { next }) => sum + BigInt(String(next)), 0n) === end;
    });
    assert.deepEqual(await this.#parts.rows('trunk'), await this.#parts.rows('production'));
    // Counted in the transactions that wrote them; a truncate is not.
    const [written] = await this.#ours('SELECT unmarked AS n FROM', 'progress');
    return BigInt(String(written?.['n'])) + BigInt(this.truncates) - end;
  }

  /** In the end both are the same, and every record was written once. */
  async equal(): Promise<void> {
    assert.equal(await this.#same(), this.#passedOver);
  }

  /** Rows that late truncates would have taken along. */
  #writtenAgain(): bigint {
    const told = this.runs.flatMap(({ stderr }) => stderr.split('\n'));
    return told.reduce((sum, line) => {
      if (!line.includes('a truncate came late: ')) return sum;
      return sum + BigInt((JSON.parse(line) as { readonly rows: number }).rows);
    }, 0n);
  }

  /**
   * The same, where rows of before a truncate may have come after it, which are passed over, and rows
   * of after it before it, which are written again.
   */
  async equalBehindTruncates(): Promise<void> {
    const again = (await this.#same()) - this.#writtenAgain();
    assert.ok(again <= this.#passedOver, `${again} records more than there are`);
    this.#passedOver = again;
  }

  /** Two begin; each dies in its turn, and another one has what it had. In the end two share it. */
  async livesThrough(churn: () => Promise<unknown>): Promise<void> {
    const [first, second] = [await this.start(), await this.start()];
    await this.shared();
    await churn();
    await this.equal();
    await second.die();
    await churn();
    await this.equal();
    // The holder dies: the member takes the whole, and shares with the next.
    await this.start();
    await this.shared();
    await churn();
    await first.die();
    await churn();
    await this.equal();
    await this.start();
    await this.shared();
  }

  /** A member that is stopped loses what it had; woken up, it helps again. */
  async outwaits(churn: () => Promise<unknown>): Promise<RunningCli> {
    const [member] = await this.members();
    if (member === undefined) throw new Error('there is no member');
    await churn();
    member.kill('SIGSTOP');
    await churn();
    await this.equal();
    member.kill('SIGCONT');
    await churn();
    await this.shared();
    await this.equal();
    return member;
  }

  #ours(
    select: string,
    table: string,
  ): Promise<readonly Readonly<Record<string, string | number | bigint>>[]> {
    return this.#parts.ask(`${select} ${this.#parts.ours}${table}`);
  }
}
