/**
 * The schemas of a registry, each fetched once: kept in memory for the decoder, in files for later
 * processes.
 */
import {
  schemaRefName,
  type SchemaRef,
  type SchemaStore,
} from '../../decode/envelope/schema-store.ts';
import { isUnderstudyError, UnderstudyError } from '../../errors/understudy-error.ts';
import type { Logger } from '../../observability/logger.ts';
import { steadyNow } from '../../util/clock.ts';
import { backoffMs, sleep } from '../../util/wait.ts';
import type { SourceState } from '../change-source.ts';
import type { RegistryClient } from './registry-client.ts';
import type { SchemaFiles } from './schema-files.ts';

export interface LoadOptions {
  readonly signal: AbortSignal;
  /** Told that the registry cannot be reached, and with null that it answered again. */
  readonly onState: (state: SourceState | null) => void;
}

export class RegistrySchemas implements SchemaStore {
  readonly #client: Pick<RegistryClient, 'address' | 'fetchSchema'>;
  readonly #files: SchemaFiles;
  readonly #logger: Logger;
  readonly #known = new Map<string, unknown>();

  constructor(parts: {
    readonly client: Pick<RegistryClient, 'address' | 'fetchSchema'>;
    readonly files: SchemaFiles;
    readonly logger: Logger;
  }) {
    this.#client = parts.client;
    this.#files = parts.files;
    this.#logger = parts.logger;
  }

  schema(ref: SchemaRef): unknown {
    return this.#known.get(schemaRefName(ref));
  }

  /**
   * Makes `schema` know these. A registry that cannot be reached is asked again until it answers
   * or the signal aborts (then it rejects with the signal's reason). Errors: SCHEMA_UNKNOWN,
   * REGISTRY_REFUSED.
   */
  async load(refs: readonly SchemaRef[], options: LoadOptions): Promise<void> {
    for (const ref of refs) {
      const name = schemaRefName(ref);
      if (this.#known.has(name)) continue;
      const json = (await this.#fromFile(ref)) ?? (await this.#fromRegistry(ref, options));
      this.#known.set(name, json);
    }
  }

  async #fromFile(ref: SchemaRef): Promise<unknown> {
    try {
      return await this.#files.read(ref);
    } catch (error) {
      this.#logger.warn('a schema’s file cannot be read, asking the registry', { error });
      return undefined;
    }
  }

  async #fromRegistry(ref: SchemaRef, options: LoadOptions): Promise<unknown> {
    const text = await this.#persist(ref, options);
    let json: unknown;
    try {
      json = JSON.parse(text) as unknown;
    } catch (error) {
      const message = `the schema registry's ${schemaRefName(ref)} is not an Avro schema`;
      throw new UnderstudyError('SCHEMA_UNKNOWN', message, {}, error);
    }
    try {
      await this.#files.write(ref, json);
    } catch (error) {
      this.#logger.warn('a schema could not be kept in a file', { error });
    }
    return json;
  }

  async #persist(ref: SchemaRef, { signal, onState }: LoadOptions): Promise<string> {
    const since = steadyNow();
    for (let attempt = 0; ; attempt += 1) {
      try {
        const text = await this.#client.fetchSchema(ref, signal);
        if (attempt > 0) onState(null);
        return text;
      } catch (error) {
        if (!isUnderstudyError(error, 'REGISTRY_UNREACHABLE')) throw error;
        const detail = `${error.message}: ${error.context.detail ?? ''}`;
        onState({ state: 'reconnecting', since, detail });
        if (attempt % 10 === 0) {
          this.#logger.warn('the schema registry does not answer, trying again', {
            error,
            attempt,
          });
        }
        await sleep(backoffMs(attempt, 100, 5_000), signal);
      }
    }
  }
}
