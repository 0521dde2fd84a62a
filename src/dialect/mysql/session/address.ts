import { readFileSync } from 'node:fs';
import type { ConnectionOptions, SslOptions } from 'mysql2';
import { UnderstudyError } from '../../../errors/understudy-error.ts';

const DEFAULT_PORT = 3306;
/** As the servers' own clients name them. */
const TLS_MODES = ['DISABLED', 'REQUIRED', 'VERIFY_CA', 'VERIFY_IDENTITY'] as const;

/** Where a server is, and with what one gets in. Prints without credentials. */
export class ServerAddress {
  readonly #url: URL;
  readonly #ssl: SslOptions | undefined;

  /**
   * `key` names the configuration's key, for messages. Options of the URL: `ssl-mode` (DISABLED,
   * REQUIRED, VERIFY_CA, VERIFY_IDENTITY) and `ssl-ca` (a file).
   * CONFIG_INVALID; the URL's text is not repeated, for it may hold a password.
   */
  constructor(url: string, key: 'shadow.url' | 'production.url') {
    if (!URL.canParse(url)) throw new UnderstudyError('CONFIG_INVALID', `${key} is not a URL`);
    this.#url = new URL(url);
    this.#ssl = tlsOptions(this.#url.searchParams, key);
  }

  /** The database the URL names; null if none. */
  get database(): string | null {
    const name = decodeURIComponent(this.#url.pathname.slice(1));
    return name === '' ? null : name;
  }

  /** `host:port`, or with the database behind. */
  describe(database: string | null = null): string {
    const host = this.#url.hostname === '' ? 'localhost' : this.#url.hostname;
    const place = `${host}:${String(this.#port)}`;
    return database === null ? place : `${place}/${database}`;
  }

  /** What the driver needs to log in. Holds the password. */
  login(): ConnectionOptions {
    // An IPv6 address stands in brackets in a URL.
    const host = this.#url.hostname.replace(/^\[(.*)\]$/, '$1');
    return {
      host: host === '' ? 'localhost' : host,
      port: this.#port,
      user: decodeURIComponent(this.#url.username),
      password: decodeURIComponent(this.#url.password),
      ...(this.#ssl !== undefined && { ssl: this.#ssl }),
    };
  }

  /** Where a candidate connects. Holds the password. */
  candidateUrl(database: string, user: string, password: string): string {
    const url = new URL(this.#url);
    url.pathname = `/${encodeURIComponent(database)}`;
    url.username = encodeURIComponent(user);
    url.password = encodeURIComponent(password);
    // A file of ours.
    url.searchParams.delete('ssl-ca');
    return url.href;
  }

  get #port(): number {
    return this.#url.port === '' ? DEFAULT_PORT : Number(this.#url.port);
  }

  toString(): string {
    return this.describe();
  }

  toJSON(): string {
    return this.describe();
  }
}

function tlsOptions(parameters: URLSearchParams, key: string): SslOptions | undefined {
  for (const name of parameters.keys()) {
    if (name === 'ssl-mode' || name === 'ssl-ca') continue;
    throw new UnderstudyError('CONFIG_INVALID', `${key} has an unknown option '${name}'`, {
      detail: 'known are ssl-mode and ssl-ca',
    });
  }
  const file = parameters.get('ssl-ca');
  const asked = parameters.get('ssl-mode') ?? (file === null ? 'DISABLED' : 'VERIFY_CA');
  const mode = TLS_MODES.find((known) => known === asked.toUpperCase());
  if (mode === undefined) {
    const detail = `expected ${TLS_MODES.join(', ')}`;
    throw new UnderstudyError('CONFIG_INVALID', `${key} has an unknown ssl-mode`, { detail });
  }
  const ca = file === null ? {} : { ca: readCertificate(file, key) };
  switch (mode) {
    case 'DISABLED':
      return undefined;
    case 'REQUIRED':
      return { rejectUnauthorized: false };
    case 'VERIFY_CA':
      return { rejectUnauthorized: true, ...ca };
    case 'VERIFY_IDENTITY':
      return { rejectUnauthorized: true, verifyIdentity: true, ...ca };
  }
}

function readCertificate(file: string, key: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new UnderstudyError('CONFIG_INVALID', `${key}: cannot read ssl-ca ${file}`, {}, error);
  }
}
