import { UnderstudyError } from '../errors/understudy-error.ts';

const ROLLOUT_NAME = /^[a-z][a-z0-9-]{0,19}$/;

/** The database and role of a rollout: `<trunk>_<name>`, with `_` for `-`. */
export function rolloutNames(trunk: string, name: string): { database: string; role: string } {
  if (!ROLLOUT_NAME.test(name)) {
    throw new UnderstudyError(
      'USAGE',
      `the rollout name '${name}' must be 1 to 20 lower case letters, digits and -, letter first`,
    );
  }
  const database = `${trunk}_${name.replaceAll('-', '_')}`;
  return { database, role: database };
}

/** `90m`, `36h`, `7d` → milliseconds. USAGE otherwise. */
export function parseDuration(text: string): number {
  const match = /^(\d+)(s|m|h|d)$/.exec(text);
  if (match === null)
    throw new UnderstudyError('USAGE', `'${text}' is no duration like 30m, 12h or 7d`);
  const units: Readonly<Record<string, number>> = { s: 1e3, m: 60e3, h: 3600e3, d: 86_400e3 };
  return Number(match[1]) * (units[match[2] ?? ''] ?? 0);
}
