import { createHash } from 'node:crypto';

/** `name`, or a name of at most `limit` bytes with the same beginning and ending and a hash between. */
export function shortenedTo(limit: number, name: string, suffix = ''): string {
  const whole = name + suffix;
  if (Buffer.byteLength(whole) <= limit) return whole;
  const tail = `_${createHash('sha256').update(whole).digest('hex').slice(0, 10)}${suffix}`;
  let head = name;
  while (Buffer.byteLength(head) + tail.length > limit) head = [...head].slice(0, -1).join('');
  return head + tail;
}
