import { UnderstudyError } from '../errors/understudy-error.ts';
import type { Dialect } from './dialect.ts';
import { mariadb, mysql } from './mysql/index.ts';
import { postgres } from './postgres/index.ts';

/** The schemes of database URLs, and who speaks them. */
const DIALECTS: ReadonlyMap<string, Dialect> = new Map([
  ['postgres:', postgres],
  ['postgresql:', postgres],
  ['mysql:', mysql],
  ['mariadb:', mariadb],
]);

/**
 * The dialect that a database URL asks for. CONFIG_INVALID if it is no URL; UNSUPPORTED for a
 * scheme nobody speaks. The URL itself is never repeated: it may hold a password.
 */
export function dialectFor(url: string): Dialect {
  if (!URL.canParse(url)) {
    throw new UnderstudyError('CONFIG_INVALID', 'a database address is not a URL', {
      detail: 'expected scheme://user:password@host:port/database',
    });
  }
  const { protocol } = new URL(url);
  const found = DIALECTS.get(protocol);
  if (found !== undefined) return found;
  const known = [...DIALECTS.keys()].map((scheme) => `${scheme}//`).join(', ');
  throw new UnderstudyError('UNSUPPORTED', `no database is reached by ${protocol}//`, {
    detail: `understudy speaks ${known}`,
  });
}
