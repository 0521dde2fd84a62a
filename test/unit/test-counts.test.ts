import { expect, it } from 'vitest';
import { countsLine, countTests } from '../support/test-counts.ts';

it('counts a file that could not be loaded as a failure', () => {
  const counts = countTests({
    numPassedTests: 3,
    numFailedTests: 1,
    numPendingTests: 2,
    numTodoTests: 1,
    testResults: [
      { status: 'passed', assertionResults: [{}, {}, {}] },
      { status: 'failed', assertionResults: [{}] },
      { status: 'failed', assertionResults: [] },
    ],
  });
  expect(countsLine(counts)).toBe('3 passed, 2 failed, 3 skipped');
});
