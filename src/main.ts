#!/usr/bin/env node
import { main } from './cli/program.ts';
import { Interrupt } from './cli/terminal.ts';
import { boundHeapGrowth } from './util/heap-growth.ts';

boundHeapGrowth();

const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  // The first signal ends in order; a second one ends at once.
  process.once(name, () => {
    stop.abort(new Interrupt(name));
  });
}

// kafkajs computes a negative time-out now and then, which Node takes as 1 ms and warns about.
process.removeAllListeners('warning');
process.on('warning', (warning) => {
  if (warning.name !== 'TimeoutNegativeWarning') process.stderr.write(`${warning.message}\n`);
});

// Status 1 means findings: a crash must never be taken for one.
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error: unknown) => {
    const stack = error instanceof Error ? `${error.name}\n${stackOf(error)}` : typeof error;
    process.stderr.write(`understudy: INTERNAL: ${event}: ${stack}\n`);
    process.exit(6);
  });
}

/** Without the message, which may be a database's and hold row values. */
function stackOf(error: Error): string {
  return (error.stack ?? '')
    .split('\n')
    .filter((line) => line.startsWith('    at '))
    .join('\n');
}

process.exitCode = await main(process.argv.slice(2), {
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  outIsTerminal: process.stdout.isTTY,
  errIsTerminal: process.stderr.isTTY,
  env: process.env,
  signal: stop.signal,
});

// Everything was closed above. Should something have been left open all the same, it must not
// keep the process: the outcome stands.
setTimeout(() => process.exit(), 2_000).unref();
