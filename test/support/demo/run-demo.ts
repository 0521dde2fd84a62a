/**
 * `npm run demo [-- --live] [--keep] [--report FILE] [--json]`: `understudy demo`; with `--live`
 * the same acts on the real parts (Kafka, Connect with Debezium, two PostgreSQL), which need Java
 * or Docker.
 */
import { main } from '../../../src/cli/program.ts';
import { Interrupt } from '../../../src/cli/terminal.ts';
import { openRecorded } from '../../../src/demo/recorded.ts';

const args = process.argv.slice(2);
const live = args.includes('--live');

const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  // Not `once`: with no listener left, a library of the harness would end the process itself.
  process.on(name, () => {
    if (stop.signal.aborted) process.exit(5);
    stop.abort(new Interrupt(name));
  });
}

process.exitCode = await main(
  ['demo', ...args.filter((arg) => arg !== '--live')],
  {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
    outIsTerminal: process.stdout.isTTY,
    errIsTerminal: process.stderr.isTTY,
    env: process.env,
    signal: stop.signal,
  },
  // The harness is loaded only where it is wanted.
  { openDemo: live ? (await import('./live.ts')).openLive : openRecorded },
);
