/**
 * The tables in the README of the decode room, made from the code. `npm run readme` writes them
 * there; test/unit/decode/readme.test.ts compares.
 */
import { readFile, writeFile } from 'node:fs/promises';
import type { Loss } from '../../src/decode/losses/loss.ts';
import { LOSSES } from '../../src/decode/losses/losses.ts';
import { BINLOG } from '../../src/decode/types/binlog.ts';
import { POSTGRESQL } from '../../src/decode/types/postgresql.ts';
import type { TypeTable } from '../../src/decode/types/type-table.ts';

export const DECODE_README = new URL('../../src/decode/README.md', import.meta.url);

/** By the word in its `<!-- word: … -->` comment, every table of the README. */
export const TABLES: Readonly<Record<string, () => string>> = {
  'types of PostgreSQL': () => typeTable(POSTGRESQL),
  'types of MySQL and MariaDB': () => typeTable(BINLOG),
  losses: lossTable,
};

/** The place of a table in the README. */
export function tablePart(word: string): RegExp {
  return new RegExp(`(?<=<!-- ${word}: .*? -->\\n).*?(?=\\n<!-- /${word} -->)`, 's');
}

function typeTable({ entries }: TypeTable): string {
  const alike = Map.groupBy(Object.entries(entries), ([, { forms }]) => forms);
  const rows = [...alike].map(([forms, named]) => {
    const ids = new Set(Object.values(forms).flatMap(({ losses }) => losses.map(({ id }) => id)));
    return [
      named.map(([name]) => code(name)).join(', '),
      Object.keys(forms).map(shortName).join(', '),
      [...ids].map(code).join(', '),
    ];
  });
  return markdown(['type', 'arrives as', 'may lose'], rows);
}

function lossTable(): string {
  const rows = Object.entries(LOSSES).map(([id, loss]) => [
    code(id),
    loss.connectors.length === 3 ? 'all' : loss.connectors.join(', '),
    loss.loses,
    loss.setting === null ? loss.cause : `${loss.cause} (${code(loss.setting)})`,
    toldBy(loss),
    loss.cure,
    loss.effect,
  ]);
  const head = ['loss', 'connector', 'what', 'cause', 'told by', 'cure', 'drift check'];
  return markdown(head, rows);
}

function shortName(name: string): string {
  const short = name
    .replace('org.apache.kafka.connect.data.', 'connect.')
    .replace(/^io\.debezium\./, '');
  return code(short);
}

function code(text: string): string {
  return `\`${text}\``;
}

/** Drift checks compare with production's own engine, which is PostgreSQL. */
function toldBy({ detection, connectors }: Loss): string {
  const checked = connectors.filter((connector) => connector === 'postgresql');
  const told = detection.flatMap((who) => {
    if (who !== 'drift' || checked.length === connectors.length) return [who];
    return checked.length === 0 ? [] : [`drift (${checked.join(', ')})`];
  });
  return told.join(', ');
}

function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', String.raw`\|`)).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

if (import.meta.main) {
  let text = await readFile(DECODE_README, 'utf8');
  for (const [word, table] of Object.entries(TABLES)) text = text.replace(tablePart(word), table);
  await writeFile(DECODE_README, text);
}
