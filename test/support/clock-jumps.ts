/**
 * To be preloaded into a process (`--import`): its clock is set two hours forward by SIGUSR2, and
 * back by the next one.
 */
const HOURS_MS = 7_200_000;

const trueNow = Date.now;
let ahead = 0;
process.on('SIGUSR2', () => {
  ahead = HOURS_MS - ahead;
});
Date.now = () => trueNow() + ahead;
