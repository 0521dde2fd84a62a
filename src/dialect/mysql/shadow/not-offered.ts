import { UnderstudyError } from '../../../errors/understudy-error.ts';

/** UNSUPPORTED: what shadows on this engine do not offer in this version. */
export function notOffered(what: string): UnderstudyError {
  return new UnderstudyError(
    'UNSUPPORTED',
    `${what} on MySQL and MariaDB shadows are not offered by this version`,
    { detail: 'the trunk is followed; nothing was touched' },
  );
}
