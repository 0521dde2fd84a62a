/**
 * Texts of MySQL and MariaDB in character sets of their own. The snapshot reads them as the server
 * converts them; in the stream the connector decodes the stored bytes by the set of Java that is
 * nearest, which is not always the same: measured character by character, all of every set.
 */
import type { ColumnType } from '../../schema/table-schema.ts';
import { unreadable } from '../problem.ts';
import { asSent, text } from './forms.ts';
import type { FormLoss, Sent, ValueDecoder } from './type-table.ts';

/** What arrives, and what it stands for, character by character. */
function pairs(sent: string, stored: string): ReadonlyMap<string, string> {
  const characters = Array.from(stored);
  return new Map(Array.from(sent, (character, i) => [character, characters[i] ?? character]));
}

/**
 * Characters that arrive as others which the set itself does not have: they can only be these, in
 * the stream as in the snapshot.
 */
const RESTORED: Readonly<Record<string, ReadonlyMap<string, string>>> = {
  armscii8: pairs(
    '€‚ƒ„†‡ˆ‰Š‹ŒŽ‘“”•–˜™š›œžŸ¢¦²´¶¸º¼¾ÀÂÄÆÈÊÌÎÐÒÔÖØÚÜÞàâäæèêìîðòôöøúü°¯ª±\u00ad³µ·¹½¿ÁÃÅÇÉËÍÏÑÓÕ×ÙÛÝßáãåçéëíïñóõ÷ùûý£¨þ®¡',
    '\u0080\u0082\u0083\u0084\u0086\u0087\u0088\u0089\u008a\u008b\u008c\u008e\u0091\u0093\u0094\u0095\u0096\u0098\u0099\u009a\u009b\u009c\u009e\u009f§»ԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՕՖ՛՜՝՞՟աբգդզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ։—’…❁',
  ),
  cp866: pairs('¤№', '²ⁿ'),
  dec8: pairs(
    '€‚ƒ„…†‡ˆ‰Š‹Ž‘’“”•–—˜™š›ž¨ý×÷Ý',
    '\u0080\u0082\u0083\u0084\u0085\u0086\u0087\u0088\u0089\u008a\u008b\u008e\u0091\u0092\u0093\u0094\u0095\u0096\u0097\u0098\u0099\u009a\u009b\u009e¤ÿŒœŸ',
  ),
  eucjpms: pairs('—‖−〜¢£¬', '―∥－～￠￡￢'),
  gbk: pairs('♁', '⊕'),
  geostd8: pairs(
    'ÀÁÂÃÄÅÆÈÉÊËÌÍÏÐÑÒÓÔÖ×ØÙÚÛÜÝÞßàáãäÇÎÕâåý',
    'აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰჱჲჳჴჵ№',
  ),
  greek: pairs('’‘', 'ʼʽ'),
  hebrew: pairs('¯', '‾'),
  hp8: pairs(
    '€‚„…†‡‰‹ŒŽ‘’“”•–™›œž¸³÷¹¦\u00ad®×²©¬',
    '\u0080\u0082\u0084\u0085\u0086\u0087\u0089\u008b\u008c\u008e\u0091\u0092\u0093\u0094\u0095\u0096\u0099\u009b\u009c\u009e¡°¼¿ÎÙÛæýˋ˜',
  ),
  keybcs2: pairs(
    'ş˝˙ĆőŚŁśÇçâëłŐŹîąĄź¬×ęĘćńŰţŃ¨ű´¸\u00adˇ˛˘§ŞËżŻĂăÂĐ¤đÎŢ',
    '¡±·ÁÍÚÝýČčďĚěĹĺľŇňŔŕŘřšŤΣδεπ∙√∩≈≡≤≥⌠⌡╕╙╛╜╞╟╢╤╧╨╫▌',
  ),
  koi8u: pairs('╢╤╥╓╕╖╫╜∙', 'ЄІЇєіїҐґ•'),
  sjis: pairs('＼—', '\\―'),
  swe7: pairs('[]@\\^{}`|~', 'ÄÅÉÖÜäåéöü'),
  ujis: pairs('—', '―'),
};

/** Sets that have every character of Unicode, U+FFFD too. */
const UNICODE: ReadonlySet<string> = new Set([
  ...['utf8', 'utf8mb3', 'utf8mb4', 'ucs2', 'utf16', 'utf16le', 'utf32', 'gb18030'],
]);

/** What Java puts in place of bytes that its set does not know. */
const UNDEFINED = '\uFFFD';

function ofSets(...sets: readonly string[]): FormLoss['applies'] {
  return ({ charset }) => charset !== undefined && sets.includes(charset);
}

/** What a text loses by the set it is stored in. */
export const CHARSET_LOSSES: readonly FormLoss[] = [
  { id: 'charset-undefined', applies: isOwn },
  { id: 'charset-lacks', applies: ofSets('big5', 'euckr') },
  { id: 'charset-misread', applies: ofSets('cp932') },
  {
    id: 'charset-confused',
    applies: ofSets('armscii8', 'dec8', 'eucjpms', 'gb18030', 'hp8', 'keybcs2'),
  },
  {
    id: 'charset-twice',
    applies: ofSets('armscii8', 'cp932', 'eucjpms', 'sjis', 'ujis'),
  },
];

/**
 * Sets whose texts arrive otherwise than they are stored, and are put back or refused where the
 * column's set is known: from production's catalogue, never from events.
 */
export function setsToKnow(connector: Sent['connector']): readonly string[] {
  return connector === 'postgresql' ? [] : [...Object.keys(RESTORED), 'cp932'];
}

/** Is it a text in a set that is not all of Unicode? */
function isOwn({ charset }: ColumnType): boolean {
  return charset !== undefined && !UNICODE.has(charset);
}

/** Texts as they are stored; what cannot be one of the set is refused. */
export function textDecoder({ type, connector }: Sent): ValueDecoder {
  if (!isOwn(type)) return asSent;
  const set = type.charset ?? '';
  // MariaDB's connector takes it for a Chinese set.
  if (set === 'cp932' && connector === 'mariadb') return text(onlyAscii);
  const restored = RESTORED[set] ?? new Map<string, string>();
  const any = new RegExp(`[${Array.from(restored.keys(), escaped).join('')}]`, 'g');
  return text((characters) => {
    if (characters.includes(UNDEFINED)) {
      throw unreadable(
        `a character of ${set} that the connector cannot decode; convert the column to utf8mb4 in ` +
          'production, then have the table snapshotted anew',
      );
    }
    return restored.size === 0
      ? characters
      : characters.replace(any, (each) => restored.get(each) ?? each);
  });
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

function onlyAscii(characters: string): string {
  for (let i = 0; i < characters.length; i += 1) {
    if (characters.charCodeAt(i) < 0x80) continue;
    throw unreadable(
      'a text of cp932, which the connector takes for another set in the stream; convert the ' +
        'column to utf8mb4 in production, then have the table snapshotted anew',
    );
  }
  return characters;
}
