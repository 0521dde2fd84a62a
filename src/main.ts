#!/usr/bin/env node
import { main } from './cli/program.ts';
import { Interrupt } from './cli/terminal.ts';

const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  // The first signal ends in order; a second one ends at once.
  process.once(name, () => {
    stop.abort(new Interrupt(name));
  });
}

process.exitCode = await main(process.argv.slice(2), {
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  outIsTerminal: process.stdout.isTTY,
  errIsTerminal: process.stderr.isTTY,
  env: process.env,
  signal: stop.signal,
});
