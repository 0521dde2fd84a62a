/** What `npm run test:holes` takes out is there to be taken out, so that it shows something when it is run. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { HOLES } from '../holes/holes.ts';

const ROOT = resolve(import.meta.dirname, '..', '..');

test('each of the fifteen holes has a proof', () => {
  expect(HOLES.map(({ number }) => number)).toEqual(Array.from({ length: 15 }, (_, i) => i + 1));
  expect(HOLES.filter(({ proofs }) => proofs.length === 0)).toEqual([]);
});

test.each(HOLES.flatMap(({ proofs }) => proofs))('$file ($engines): $name', async (proof) => {
  expect(existsSync(join(ROOT, proof.file))).toBe(true);
  if (proof.kind === 'control') return;
  const [path, from] = proof.without;
  const text = await readFile(join(ROOT, path), 'utf8');
  expect(text.split(from)).toHaveLength(2);
});
