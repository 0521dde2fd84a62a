/**
 * The views of captured tables, in two databases beside the rollout's:
 * - `<rollout>__production.<table>`: production's rows at the applied position. Needs a key lookup or a
 *   range of keys to be fast: joins and LIMIT do not reach below the union.
 * - `<rollout>__difference.<table>`: rows that the candidate changed, with production's value of each
 *   column beside the candidate's.
 *
 * They read with the rights of the account that our triggers have, so that who may read a view needs no
 * right on what is beneath. The candidate has none.
 */
import type { ColumnSchema } from '../../../schema/table-schema.ts';
import { shortenedTo } from '../../sql/shortened.ts';
import type { Client } from '../session/client.ts';
import { patiently } from '../session/metadata-locks.ts';
import { JOURNAL, literal, quote, viewDatabase, VIEWS } from '../session/names.ts';
import { triggerDefiner } from '../shadow/accounts.ts';
import { insideViews } from '../shadow/view-databases.ts';
import { sameValue } from './images.ts';
import { traceText, type CapturedTable } from './journal.ts';
import { differenceKind } from './read.ts';
import { productionImage, unionOfEntries, type Image } from './waiting.ts';

/** Columns of a difference beside those of its table. */
const DIFFERENCE = { kind: 'understudy_kind', columns: 'understudy_columns' } as const;

const NAME_CHARACTERS = 64;

/** Makes the views of these tables as the tables are now, and drops those of others. */
export async function ensureViews(
  client: Client,
  database: string,
  tables: readonly CapturedTable[],
): Promise<void> {
  const definer = triggerDefiner(database);
  const wanted = new Set(tables.map(({ schema }) => schema.id.name));
  for (const kind of VIEWS) {
    const beside = viewDatabase(database, kind);
    await client.run(`CREATE DATABASE IF NOT EXISTS ${quote(beside)} CHARACTER SET utf8mb4`);
    const { ours } = await insideViews(client, database, beside);
    for (const name of ours.filter((one) => !wanted.has(one))) {
      await patiently(client, database, `DROP VIEW ${quote(beside, name)}`);
    }
    for (const table of tables) {
      const body = kind === 'production' ? productionView(table) : differenceView(table);
      // Somebody may be reading it, while tables are closed.
      await patiently(
        client,
        database,
        `CREATE OR REPLACE DEFINER = ${definer} SQL SECURITY DEFINER
          VIEW ${quote(beside, table.schema.id.name)} AS ${body}`,
      );
    }
  }
}

function productionView(table: CapturedTable): string {
  const columns = (alias: string): string =>
    table.schema.columns.map(({ name }) => `${alias}.${quote(name)}`).join(', ');
  return productionImage(table, columns);
}

function differenceView(table: CapturedTable): string {
  const keys = new Set(table.schema.key);
  const rest = table.schema.columns.filter(({ name }) => !keys.has(name));
  const pairs = rest.flatMap(({ name }) => {
    const production = quote(shortenedTo(NAME_CHARACTERS, name, '__production'));
    return [`t.${quote(name)}`, [name, production] as const];
  });
  return unionOfEntries(table, (image) => {
    const kind = differenceKind(table, image);
    const shown = pairs.map((one) =>
      typeof one === 'string' ? one : `${image}.${quote(one[0])} AS ${one[1]}`,
    );
    return {
      list: `${kind} AS ${DIFFERENCE.kind}, ${changedNames(rest, image)} AS ${DIFFERENCE.columns},
      j.${JOURNAL.at}, ${traceText('j')} AS ${JOURNAL.trace}, ${[...table.key.map(({ name }) => `j.${name}`), ...shown].join(', ')}`,
      where: `${kind} <> 'equal'`,
    };
  });
}

/** A JSON array. */
function changedNames(columns: readonly ColumnSchema[], image: Image): string {
  const parts = columns.map((schema) => {
    const column = { name: quote(schema.name), schema };
    return `IF(${sameValue(column, image, 't')}, NULL, ${literal(JSON.stringify(schema.name))})`;
  });
  return parts.length === 0 ? `'[]'` : `CONCAT('[', CONCAT_WS(', ', ${parts.join(', ')}), ']')`;
}
