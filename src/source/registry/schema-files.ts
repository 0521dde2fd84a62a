/**
 * Fetched schemas as files, so that they need not be fetched again by a later process, or at all
 * when a recording is played where its registry is not. A registry never changes what an id means;
 * one that was emptied and filled anew at the same address is another registry, and its folder
 * must be deleted.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { SchemaRef } from '../../decode/envelope/schema-store.ts';

export class SchemaFiles {
  readonly #folder: string;

  /** `address` tells one registry from another. */
  constructor(folder: string, address: string) {
    const registry = createHash('sha256').update(address).digest('hex').slice(0, 16);
    this.#folder = path.join(folder, registry);
  }

  /** The schema, parsed; undefined if there is no file. Throws if the file cannot be read. */
  async read(ref: SchemaRef): Promise<unknown> {
    let text: string;
    try {
      text = await readFile(this.#file(ref), 'utf8');
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
    return JSON.parse(text) as unknown;
  }

  /** Whole or not at all, also when processes write the same schema at the same time. */
  async write(ref: SchemaRef, json: unknown): Promise<void> {
    await mkdir(this.#folder, { recursive: true });
    const file = this.#file(ref);
    const unfinished = `${file}.${randomBytes(6).toString('hex')}`;
    try {
      await writeFile(unfinished, JSON.stringify(json), { flush: true });
      await rename(unfinished, file);
    } catch (error) {
      await rm(unfinished, { force: true });
      throw error;
    }
  }

  #file(ref: SchemaRef): string {
    return path.join(this.#folder, `${ref.kind}-${ref.id}.json`);
  }
}

function isNotFound(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
