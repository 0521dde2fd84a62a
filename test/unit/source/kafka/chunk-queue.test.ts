import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import type { LogChunk } from '../../../../src/source/change-source.ts';
import { ChunkQueue } from '../../../../src/source/kafka/chunk-queue.ts';

const chunk = (next: bigint): LogChunk => ({
  topic: 't',
  partition: 0,
  records: [],
  next,
  end: next,
});

async function take(chunks: AsyncIterator<LogChunk>): Promise<LogChunk> {
  const next = await chunks.next();
  if (next.done === true) throw new Error('the queue has ended');
  return next.value;
}

test('hands out all chunks in their order, whether it is left empty or not', async () => {
  const queue = new ChunkQueue();
  const chunks = queue[Symbol.asyncIterator]();
  let pushed = 0n;
  let taken = 0n;
  for (const burst of [1, 3, 200, 0, 65, 64, 1, 0, 130]) {
    for (let i = 0; i < burst; i += 1) queue.push(chunk((pushed += 1n)));
    while (taken < pushed - BigInt(burst % 3))
      expect((await take(chunks)).next).toBe((taken += 1n));
  }
  queue.close();
  expect(await chunks.next()).toMatchObject({ done: true });
});

test('keeps no chunk that was read, though it is never empty', async () => {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  const queue = new ChunkQueue();
  const chunks = queue[Symbol.asyncIterator]();
  const read: WeakRef<LogChunk>[] = [];
  for (let i = 0n; i < 10n; i += 1n) queue.push(chunk(i));
  for (let i = 10n; i < 1_000n; i += 1n) {
    queue.push(chunk(i));
    read.push(new WeakRef(await take(chunks)));
  }
  // What a turn has looked at lives until its end.
  await new Promise((resolve) => setImmediate(resolve));
  gc();
  const kept = read.filter((ref) => ref.deref() !== undefined);
  // The reader's own last one may be at hand still.
  expect(kept.length).toBeLessThan(5);
});
