import avsc from 'avsc';

/** As avsc's documentation has every 64-bit integer read. */
const LONG = avsc.types.LongType.__with({
  fromBuffer: (bytes: Buffer) => bytes.readBigInt64LE(),
  toBuffer: (value: bigint) => {
    // Asked for the defaults of a schema.
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(value);
    return bytes;
  },
  fromJSON: (value: number) => BigInt(value),
  toJSON: Number,
  isValid: (value: unknown) => typeof value === 'bigint',
  compare: (a: bigint, b: bigint) => (a < b ? -1 : a > b ? 1 : 0),
});

function isLong(part: avsc.Schema): boolean {
  return part === 'long' || (typeof part === 'object' && 'type' in part && part.type === 'long');
}

/** The library's own reader of data in `schema`, for comparison with ours: integers are exact. */
export function plainAvsc(schema: unknown): avsc.Type {
  return avsc.Type.forSchema(schema as avsc.Schema, {
    wrapUnions: 'never',
    omitRecordMethods: true,
    typeHook: (part) => (isLong(part) ? LONG : undefined),
  });
}
