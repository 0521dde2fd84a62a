import type { SourcePosition } from '../../../change/position.ts';

/** JSON with 64-bit numbers as text, for they exceed what JSON readers keep exactly. */
export function sourceText(source: SourcePosition): string {
  return JSON.stringify(source, (_key, value: unknown) =>
    typeof value === 'bigint' ? value.toString() : value,
  );
}
