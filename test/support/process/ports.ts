import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/** Below the range from which systems take the local ports of outgoing connections. */
const LOWEST = 15_000;
const HIGHEST = 30_000;
const ATTEMPTS = 50;

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      server.close(() => resolve(true));
    });
  });
}

/**
 * A TCP port that was free on 127.0.0.1 a moment ago. Drawn at random, so that several test
 * processes which ask at once hardly ever get the same one.
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const port = randomInt(LOWEST, HIGHEST);
    if (await isFree(port)) return port;
  }
  throw new Error(`no free TCP port found on 127.0.0.1 in ${String(ATTEMPTS)} attempts`);
}
