import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { LOSSES } from '../../../src/decode/losses/losses.ts';
import { TYPE_TABLES } from '../../../src/decode/types/tables.ts';
import { DECODE_README, TABLES, tablePart } from '../../support/decode-tables.ts';

const readme = await readFile(DECODE_README, 'utf8');

describe('the README of the decode room', () => {
  it.each(Object.entries(TABLES))('has the table of %s as the code has it', (word, table) => {
    expect(tablePart(word).exec(readme)?.[0]).toBe(table());
  });

  it.each(Object.entries(TYPE_TABLES))(
    'lists losses of %s that are its own',
    (connector, table) => {
      const named = Object.values(table.entries)
        .flatMap(({ forms }) => Object.values(forms))
        .flatMap(({ losses }) => losses.map(({ id }) => id));
      // Two databases share their types, and `lossesOf` keeps from each what is the other's.
      const family = connector === 'postgresql' ? ['postgresql'] : ['mysql', 'mariadb'];
      const foreign = named.filter(
        (id) => !LOSSES[id].connectors.some((each) => family.includes(each)),
      );
      expect(named.length).toBeGreaterThan(10);
      expect(foreign).toEqual([]);
    },
  );

  it('promises drift checks where there are some', () => {
    const rows = (tablePart('losses').exec(readme)?.[0] ?? '').split('\n').slice(2);
    const told = rows.map((row) => row.split(' | ')).map((cells) => [cells[1], cells[4]] as const);
    const promised = told.filter(([, by]) => by?.includes('drift'));
    expect(promised.length).toBeGreaterThan(10);
    expect(promised.filter(([of]) => !/^(all|postgresql)/.test(of ?? ''))).toEqual([]);
    expect(told.filter(([, by]) => by === '')).toEqual([]);
  });

  it('says what, why, and what to do of every loss', () => {
    for (const { loses, cause, cure, detection, connectors } of Object.values(LOSSES)) {
      expect([loses, cause, cure].every((text) => text.length > 3)).toBe(true);
      expect(Math.min(detection.length, connectors.length)).toBeGreaterThan(0);
    }
  });
});
