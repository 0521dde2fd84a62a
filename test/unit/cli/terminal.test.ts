import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ProgressLine } from '../../../src/cli/progress.ts';
import { humanDuration, renderTable, type Terminal } from '../../../src/cli/terminal.ts';

describe('a table', () => {
  it('aligns texts left and numbers right, and draws nothing after the last word', () => {
    const table = renderTable(
      ['NAME', 'ROWS', 'STATE'],
      [
        ['shop', 12_345, 'following'],
        ['a-long-name', null, ''],
      ],
    );
    expect(table).toBe(
      'NAME          ROWS  STATE\n' + 'shop         12345  following\n' + 'a-long-name      –\n',
    );
  });

  it('is its head alone without rows', () => {
    expect(renderTable(['NAME', 'ROWS'], [])).toBe('NAME  ROWS\n');
  });
});

it.each([
  [0, '0 ms'],
  [999.4, '999 ms'],
  [999.6, '1.0 s'],
  [1_449, '1.4 s'],
  [59_940, '59.9 s'],
  [59_960, '1 min 0 s'],
  [119_700, '2 min 0 s'],
  [185_000, '3 min 5 s'],
  [3_599_600, '1 h 0 min'],
  [7_800_000, '2 h 10 min'],
  [90_000_000, '25 h 0 min'],
])('says %d ms as %s', (ms, text) => {
  expect(humanDuration(ms)).toBe(text);
});

describe('progress', () => {
  let lines: string[];

  beforeEach(() => {
    lines = [];
    vi.useFakeTimers({ toFake: ['performance'] });
    vi.advanceTimersByTime(1_000);
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  function terminal(errIsTerminal: boolean): Terminal {
    return {
      out: () => {
        throw new Error('progress belongs on standard error');
      },
      err: (text) => lines.push(text),
      outIsTerminal: true,
      errIsTerminal,
      env: {},
      signal: new AbortController().signal,
    };
  }

  it('is silent where nobody watches', () => {
    const progress = new ProgressLine(terminal(false), 'rows');
    progress.update('shop', 1, 2);
    progress.end();
    expect(lines).toEqual([]);
  });

  it('shows share, count, rate and what is left, in place', () => {
    const progress = new ProgressLine(terminal(true), 'records');
    progress.update('shop', 0, 10_000);
    vi.advanceTimersByTime(1_000);
    progress.update('shop', 2_500, 10_000);
    expect(lines).toEqual([
      `\r\u001b[2Kshop ${'░'.repeat(28)} 0% 0/10,000`,
      `\r\u001b[2Kshop ${'█'.repeat(7)}${'░'.repeat(21)} 25% 2,500/10,000 2,500 records/s, 3.0 s left`,
    ]);
    progress.end();
    progress.end();
    expect(lines.slice(2)).toEqual(['\n']);
  });

  it('draws seldom, but always the end', () => {
    const progress = new ProgressLine(terminal(true), 'records');
    for (let done = 0; done <= 1_000; done += 1) {
      vi.advanceTimersByTime(1);
      progress.update('shop', done, 1_000);
    }
    expect(lines.length).toBeLessThan(15);
    expect(lines.at(-1)).toContain('100% 1,000/1,000');
  });

  it('shows the pace of the last seconds', () => {
    const progress = new ProgressLine(terminal(true), 'rows');
    for (let second = 0; second < 30; second += 1) {
      progress.update('shop', second < 10 ? second * 1_000 : 10_000 + (second - 10) * 10, 1e6);
      vi.advanceTimersByTime(1_000);
    }
    expect(lines.at(-1)).toContain(' 10 rows/s');
  });

  it('has nothing to do when there is nothing', () => {
    new ProgressLine(terminal(true), 'rows').update('shop', 0, 0);
    expect(lines.join('')).toContain('100% 0/0');
  });
});
