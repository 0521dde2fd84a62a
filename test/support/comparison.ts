import pg from 'pg';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import { quotedTable } from '../../src/dialect/postgres/compare/comparison-sql.ts';
import { openTableReader } from '../../src/dialect/postgres/compare/table-reader.ts';
import { readGaps } from '../../src/dialect/postgres/shadow/gaps.ts';
import type { BaseReader, TableGaps } from '../../src/dialect/dialect.ts';
import { compareTables, type CompareOptions, type Comparison } from '../../src/drift/compare.ts';
import { readerReference } from '../../src/drift/reference.ts';

/** A session to `url`, ended by its user. */
export async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return client;
}

/** All that an async iterable yields. */
export async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of source) all.push(one);
  return all;
}

/** A table reader over a snapshot of now, with the gaps of a database that has our tables. */
export async function readNow(url: string): Promise<BaseReader> {
  let gaps: readonly TableGaps[] = [];
  return openTableReader({
    client: await connect(url),
    relation: quotedTable,
    tables: async (client) => {
      const ours = await client.query<{ there: boolean }>(
        `SELECT to_regclass('understudy.unknown_value') IS NOT NULL AS there`,
      );
      if (ours.rows[0]?.there === true) gaps = await readGaps(client, null);
      return readCatalogue(client);
    },
    gaps: () => gaps,
  });
}

/** Compares two databases as they are now. Small leaves, so that several of them exist. */
export async function compareDatabases(
  production: string,
  shadow: string,
  options: Partial<CompareOptions> = {},
): Promise<Comparison> {
  await using theirs = await readNow(production);
  await using ours = await readNow(shadow);
  return await compareTables(await readerReference(theirs), ours, {
    include: () => true,
    strictSchema: true,
    showValues: true,
    limits: { leafRows: 7, listedRows: 100, searchedRows: 100_000 },
    signal: new AbortController().signal,
    ...options,
  });
}
