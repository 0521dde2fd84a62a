/** Texts in every character set of MySQL and MariaDB but those in the table of texts. */
import type { TypeColumn, TypeTable } from './type-table.ts';

/** All bytes of the upper half that are letters or signs in most sets of single bytes. */
const UPPER = Array.from({ length: 96 }, (_, i) => (0xa0 + i).toString(16)).join('');

/** Sets of single bytes in which all of these are something. */
const WHOLE = [
  ...['cp850', 'cp852', 'cp866', 'keybcs2', 'koi8r', 'koi8u', 'latin1', 'latin2'],
  ...['latin5', 'latin7', 'macce', 'macroman'],
];

/** What is worth seeing of the others, and of those whose characters the connector mistakes. */
const LETTERS: Readonly<Record<string, string>> = {
  ...{ armscii8: 'aԱՖֆ։', ascii: 'a~', big5: '中文字', cp1250: 'łŞ', cp1256: 'ابپ', cp1257: 'žĖ' },
  ...{ dec8: 'é¤ÿŒœŸ' },
  ...{ eucjpms: 'あ亜ｱ∥―～￠￡￢', euckr: '가힝中', gb2312: '中文', gbk: '中⊕€' },
  ...{
    geostd8: 'აჵ№',
    greek: 'ΩʼʽΆ',
    hebrew: 'א‾',
    hp8: 'ÙæÎ¿',
    sjis: 'あ\\―ｱ',
    swe7: 'aÄÅÉÖÜäåéöü',
  },
  ...{ tis620: 'กฮ', ucs2: 'ü中', ujis: 'あ亜ｱ―', utf16le: '😀ü' },
};

function text(name: string, set: string, ...values: readonly string[]): TypeColumn {
  return { name: `c_${name}`, type: `VARCHAR(100) CHARACTER SET ${set}`, values };
}

function quoted(letters: string): string {
  return `'${letters.replaceAll('\\', '\\\\')}'`;
}

/** With those of one engine only. */
export function charsets(more: Readonly<Record<string, string>>): TypeTable {
  const letters = Object.entries({ ...LETTERS, ...more });
  return {
    name: 't_charset',
    columns: [
      ...WHOLE.map((set) => text(set, set, `CONVERT(0x${UPPER} USING ${set})`, `''`)),
      ...letters.map(([set, characters]) => text(set, set, quoted(characters), `''`)),
      // Its own letters take the places of others that it has too.
      text('hp8_confused', 'hp8', quoted('£ª')),
    ],
  };
}

/** Of which nothing is left to tell what it was. */
export function undefinedIn(set: string, value: string): TypeTable {
  return { name: 't_charset_lost', columns: [text(set, set, value)] };
}
