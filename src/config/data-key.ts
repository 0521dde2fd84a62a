/** Bytes of a key, for AES-256. */
const KEY_BYTES = 32;

/** The 32 bytes that a text spells, in hexadecimal or base64; null if it does not. */
export function dataKey(text: string): Buffer | null {
  const key = /^[0-9a-f]{64}$/i.test(text)
    ? Buffer.from(text, 'hex')
    : /^[A-Za-z0-9+/]{43}=$/.test(text)
      ? Buffer.from(text, 'base64')
      : null;
  return key?.length === KEY_BYTES ? key : null;
}
