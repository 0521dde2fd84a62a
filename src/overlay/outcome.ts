/**
 * How a row that the candidate owned came to be production's again:
 * - `converged`: what it sees was found to be production's row, by who applies or who sweeps
 * - `released`: the same, when somebody asked for it
 * - `reset`: it was put back to production's
 * - `ours`, `theirs`, `merged`: a conflict was resolved in favour of one side, or of both
 *
 * Rows that nobody changed in the end, neither the candidate nor production, are given up without a word.
 */
export type Outcome = 'converged' | 'released' | 'reset' | 'ours' | 'theirs' | 'merged';
