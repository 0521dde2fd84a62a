/**
 * Seals records of the log with a key of the user's, so that they can be kept where row values must
 * not lie open: AES-256-GCM, each with a nonce of its own, bound to its place in the log.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { partitionKey, type LogOffset } from '../change/position.ts';
import type { LogRecord } from '../change/record.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import { EntryReader, EntryWriter } from './recording/entries.ts';

const CIPHER = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** Enough to tell a person's keys apart, and too little to find one by. */
const ID_BYTES = 6;

export interface Sealed {
  /** Of the key: the first bytes of its SHA-256, in hexadecimal. */
  readonly keyId: string;
  /** Nonce, what it encrypts, tag. */
  readonly bytes: Buffer;
}

export class RecordSeal {
  readonly keyId: string;
  readonly #key: Buffer;

  /** `key`: 32 bytes. */
  constructor(key: Buffer) {
    this.#key = key;
    this.keyId = createHash('sha256').update(key).digest().subarray(0, ID_BYTES).toString('hex');
  }

  seal(record: LogRecord): Sealed {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, this.#key, nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(Buffer.from(placeText(record)));
    const sealed = [nonce, cipher.update(written(record)), cipher.final(), cipher.getAuthTag()];
    return { keyId: this.keyId, bytes: Buffer.concat(sealed) };
  }

  /**
   * The record at `at`. SEAL_REFUSED if it was sealed with another key or for another place, or if
   * its bytes were changed.
   */
  open(at: LogOffset, { keyId, bytes }: Sealed): LogRecord {
    if (keyId !== this.keyId) {
      const detail = `it was kept with key ${keyId}, and deadLetters.encryptionKey is ${this.keyId}`;
      throw refused('a record was kept with another key', at, detail);
    }
    let plain: Buffer;
    try {
      const nonce = bytes.subarray(0, NONCE_BYTES);
      const cipher = createDecipheriv(CIPHER, this.#key, nonce, { authTagLength: TAG_BYTES });
      cipher.setAAD(Buffer.from(placeText(at)));
      cipher.setAuthTag(bytes.subarray(-TAG_BYTES));
      const body = bytes.subarray(NONCE_BYTES, -TAG_BYTES);
      plain = Buffer.concat([cipher.update(body), cipher.final()]);
    } catch {
      // What the library says tells nothing more.
      throw refused('a record that was kept is not what it was', at);
    }
    return readBack(plain, at);
  }
}

/** SEAL_REFUSED: without any key nothing is opened. */
export function withoutKey(at: LogOffset, { keyId }: Pick<Sealed, 'keyId'>): UnderstudyError {
  const detail = `it was kept with key ${keyId}, and there is no deadLetters.encryptionKey`;
  return refused('a record that was kept cannot be opened', at, detail);
}

function refused(what: string, at: LogOffset, detail?: string): UnderstudyError {
  const { topic, partition, offset } = at;
  const context = { topic, partition, offset, ...(detail !== undefined && { detail }) };
  return new UnderstudyError('SEAL_REFUSED', what, context);
}

function placeText({ topic, partition, offset }: LogOffset): string {
  return `${partitionKey(topic, partition)}/${offset}`;
}

/** As a recording has it. */
function written(record: LogRecord): Buffer {
  const writer = new EntryWriter();
  const { topic, partition, offset } = record;
  const key = partitionKey(topic, partition);
  writer.define(key, topic, partition, offset);
  writer.record(key, record);
  return writer.take();
}

function readBack(plain: Buffer, at: LogOffset): LogRecord {
  for (const entry of new EntryReader().entries(plain)) {
    if (entry.kind === 'record') return entry.record;
  }
  throw refused('a record that was kept is not what it was', at);
}
