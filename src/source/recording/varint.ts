const INITIAL_BYTES = 64 * 1024;

/** Appends varints and bytes to a buffer that grows. Numbers must be whole and safe integers. */
export class VarintWriter {
  #buffer = Buffer.allocUnsafe(INITIAL_BYTES);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** The bytes written since the last call. */
  take(): Buffer {
    const bytes = this.#buffer.subarray(0, this.#length);
    this.#buffer = Buffer.allocUnsafe(Math.max(INITIAL_BYTES, this.#length));
    this.#length = 0;
    return bytes;
  }

  /** Not negative. */
  number(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not a count: ${value}`);
    this.#reserve(8);
    let rest = value;
    while (rest >= 0x80) {
      this.#buffer[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#buffer[this.#length++] = rest;
  }

  /** Not negative, up to 64 bits. */
  bigint(value: bigint): void {
    if (value < 0n) throw new RangeError(`not a count: ${value}`);
    this.#reserve(10);
    let rest = value;
    while (rest >= 0x80n) {
      this.#buffer[this.#length++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#buffer[this.#length++] = Number(rest);
  }

  /** Zigzag: small negative numbers stay short. */
  signed(value: number): void {
    this.bigint(value < 0 ? BigInt(-value) * 2n - 1n : BigInt(value) * 2n);
  }

  bytes(bytes: Buffer): void {
    this.number(bytes.length);
    this.#reserve(bytes.length);
    this.#length += bytes.copy(this.#buffer, this.#length);
  }

  nullableBytes(bytes: Buffer | null): void {
    if (bytes === null) {
      this.number(0);
      return;
    }
    this.number(bytes.length + 1);
    this.#reserve(bytes.length);
    this.#length += bytes.copy(this.#buffer, this.#length);
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }
}

/** Reads what VarintWriter wrote; bytes are views. Throws a RangeError at the end of input. */
export class VarintReader {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  get done(): boolean {
    return this.#at >= this.#buffer.length;
  }

  number(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const byte = this.#byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }

  bigint(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.#byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }

  signed(): number {
    const value = this.bigint();
    return Number((value & 1n) === 0n ? value / 2n : -(value + 1n) / 2n);
  }

  bytes(): Buffer {
    return this.#view(this.number());
  }

  nullableBytes(): Buffer | null {
    const length = this.number();
    return length === 0 ? null : this.#view(length - 1);
  }

  #byte(): number {
    const byte = this.#buffer[this.#at++];
    if (byte === undefined) throw new RangeError('a number is cut off');
    return byte;
  }

  #view(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#buffer.length) throw new RangeError('bytes are cut off');
    const bytes = this.#buffer.subarray(this.#at, end);
    this.#at = end;
    return bytes;
  }
}
