/**
 * The demo's stage with nothing but Node: an embedded server for the shadow, a recording of a real
 * Debezium stream for the event log, and a manifest in production's place.
 */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadConfig } from '../config/load.ts';
import { RuntimeContext } from '../runtime/context.ts';
import { Playback } from './playback.ts';
import type { OpenStagecraft, Stagecraft } from './stagecraft.ts';
import { readManifest, readTraffic, RECORDING, SCHEMA } from './traffic.ts';

export const openRecorded: OpenStagecraft = async ({ say, logger }): Promise<Stagecraft> => {
  const directory = await mkdtemp(path.join(tmpdir(), 'understudy-demo-'));
  const remove = (): Promise<void> => rm(directory, { recursive: true, force: true });
  try {
    // As root, the server runs as a user of its own, who must get to its data.
    await chmod(directory, 0o711);
    const configFile = path.join(directory, 'understudy.yaml');
    await writeFile(configFile, configText(), { mode: 0o600 });
    const traffic = await readTraffic();
    const playback = await Playback.open(traffic);
    say('Event log      a recording of a real Debezium stream');
    const started = performance.now();
    const context = await RuntimeContext.open(await loadConfig(configFile, {}), logger, {
      openSource: () => playback.openSource(),
    });
    const seconds = ((performance.now() - started) / 1_000).toFixed(1);
    say(`Shadow server  an embedded one, started in ${seconds} s`);
    return {
      context,
      configFile,
      windows: traffic.windows,
      // Armed before the stream goes on: the check catches its point as it passes.
      checkedWindow: 0,
      manifest: readManifest,
      beforeTraffic: () => Promise.resolve(playback.endOf(-1)),
      advance: (index) => Promise.resolve(playback.play(index)),
      async [Symbol.asyncDispose]() {
        try {
          await context[Symbol.asyncDispose]();
        } finally {
          await remove();
        }
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
};

/** JSON is YAML. */
function configText(): string {
  return JSON.stringify({
    source: { topicPrefix: 'shop', recording: fileURLToPath(RECORDING) },
    shadow: 'embedded',
    trunk: { name: 'shop', schema: fileURLToPath(SCHEMA) },
  });
}
