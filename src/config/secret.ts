import { inspect } from 'node:util';

/**
 * A value that must not be printed: connection addresses with passwords, keys. `reveal` is the
 * only way to read it; every kind of printing gives `[redacted]`.
 */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return '[redacted]';
  }

  toJSON(): string {
    return '[redacted]';
  }

  [inspect.custom](): string {
    return '[redacted]';
  }
}
