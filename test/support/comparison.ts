import pg from 'pg';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import { quotedTable } from '../../src/dialect/postgres/compare/comparison-sql.ts';
import { openTableReader } from '../../src/dialect/postgres/compare/table-reader.ts';
import type { TableReader } from '../../src/dialect/dialect.ts';
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

/** A table reader over a snapshot of now. */
export async function readNow(url: string): Promise<TableReader> {
  return openTableReader({
    client: await connect(url),
    relation: quotedTable,
    tables: readCatalogue,
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
