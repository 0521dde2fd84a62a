/**
 * A schema registry's REST interface, as far as schemas are read by id: Confluent's
 * (`/schemas/ids/ID`, `/schemas/guids/GUID`, which Apicurio offers too) and Apicurio's own of
 * versions 2 and 3 (`/ids/contentIds/ID`, `/ids/globalIds/ID` below `/apis/registry/vN`).
 */
import { z } from 'zod';
import type { SchemaRef, WireFormat } from '../../decode/envelope/schema-store.ts';
import { schemaRefName } from '../../decode/envelope/schema-store.ts';
import { UnderstudyError } from '../../errors/understudy-error.ts';

const TIMEOUT_MS = 10_000;

const confluentShape = z.object({
  schema: z.string(),
  schemaType: z.string().nullish(),
  references: z.array(z.unknown()).nullish(),
});

export class RegistryClient {
  /** The address without user and password: for people, and as the registry's identity. */
  readonly address: string;
  readonly #api: WireFormat['api'];
  readonly #headers: Readonly<Record<string, string>>;

  /** `url` may carry a user and a password, which are sent as basic authentication. */
  constructor(options: { readonly url: string; readonly api: WireFormat['api'] }) {
    const url = new URL(options.url);
    const credentials = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
    this.#headers =
      url.username === ''
        ? {}
        : { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` };
    url.username = '';
    url.password = '';
    this.address = url.href.replace(/\/+$/, '');
    this.#api = options.api;
  }

  /**
   * The schema's text. Errors: SCHEMA_UNKNOWN if the registry has none of this id, or not in Avro,
   * REGISTRY_UNREACHABLE if it may answer later, REGISTRY_REFUSED if it will not.
   */
  async fetchSchema(ref: SchemaRef, signal?: AbortSignal): Promise<string> {
    const text = await this.#get(ref, signal);
    if (this.#api === 'apicurio') return text;
    let json: unknown;
    try {
      json = JSON.parse(text) as unknown;
    } catch (error) {
      throw this.#refused('it did not answer with JSON', error);
    }
    const answer = confluentShape.safeParse(json);
    if (!answer.success) throw this.#refused('it did not answer with a schema');
    const { schema, schemaType, references } = answer.data;
    if ((schemaType ?? 'AVRO') !== 'AVRO' || (references ?? []).length > 0) {
      throw new UnderstudyError(
        'SCHEMA_UNKNOWN',
        `the schema ${schemaRefName(ref)} is not usable`,
        {
          detail: 'only Avro schemas without references are read',
        },
      );
    }
    return schema;
  }

  async #get(ref: SchemaRef, signal: AbortSignal | undefined): Promise<string> {
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    let response: Response;
    let body: string;
    try {
      response = await fetch(`${this.address}${pathOf(ref)}`, {
        headers: this.#headers,
        signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
      });
      body = await response.text();
    } catch (error) {
      if (signal?.aborted === true) throw signal.reason;
      throw this.#unreachable(timeout.aborted ? 'no answer in time' : 'no connection', error);
    }
    const { status } = response;
    if (response.ok) return body;
    if (status === 404) {
      throw new UnderstudyError(
        'SCHEMA_UNKNOWN',
        `the schema registry ${this.address} has no schema ${schemaRefName(ref)}`,
      );
    }
    const later = status >= 500 || status === 429 || status === 408;
    throw later ? this.#unreachable(`HTTP ${status}`) : this.#refused(`HTTP ${status}`);
  }

  #unreachable(detail: string, cause?: unknown): UnderstudyError {
    const message = `the schema registry ${this.address} could not be asked`;
    return new UnderstudyError('REGISTRY_UNREACHABLE', message, { detail }, cause);
  }

  #refused(detail: string, cause?: unknown): UnderstudyError {
    const message = `the schema registry ${this.address} refused to answer`;
    return new UnderstudyError('REGISTRY_REFUSED', message, { detail }, cause);
  }
}

const PATHS = {
  id: '/schemas/ids/',
  guid: '/schemas/guids/',
  contentId: '/ids/contentIds/',
  globalId: '/ids/globalIds/',
} as const;

function pathOf(ref: SchemaRef): string {
  return PATHS[ref.kind] + encodeURIComponent(ref.id);
}
