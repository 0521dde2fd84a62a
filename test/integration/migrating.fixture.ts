/** A rollout of each engine with rows of production's and of the candidate's, to be migrated. */
import { expect } from 'vitest';
import type { ColumnRename, MigrationOutcome } from '../../src/dialect/migrating.ts';
import { gone, put } from './mysql.fixture.ts';
import { anyRollout, type ALL_ENGINES, type AnyRollout } from './rollout.fixture.ts';

const ITEM = `CREATE TABLE thing (id INT PRIMARY KEY, name VARCHAR(20), qty INT, note VARCHAR(40), old VARCHAR(9))`;
const OTHER = 'CREATE TABLE other (id INT PRIMARY KEY, v VARCHAR(9))';

/** Each server's words for an account that nobody logs in with. */
export const CLOSED = /not permitted to log in|locked|Access denied/;

type Model = Map<number, Record<string, string>>;

/** Production, as it has been told so far. */
export class Production {
  readonly rows: Model = new Map();
  readonly #at: AnyRollout;

  constructor(at: AnyRollout) {
    this.#at = at;
  }

  async put(id: number, values: Record<string, string>): Promise<void> {
    const row = { ...this.rows.get(id), id: String(id), ...values };
    this.rows.set(id, row);
    await this.#at.apply(this.#at.step('thing', put(['id'], row)));
  }

  async delete(id: number): Promise<void> {
    this.rows.delete(id);
    await this.#at.apply(this.#at.step('thing', gone(String(id))));
  }

  /** Of its own columns, also those that the candidate dropped: as the view shows it, and as it is. */
  async images(): Promise<readonly [seen: unknown, is: unknown]> {
    const found = await this.#at.production('thing', 'id, name, qty, note, old');
    const model = [...this.rows.values()]
      .map(({ id, name, qty, note, old }) => [Number(id), name, Number(qty), note, old])
      .toSorted((a, b) => Number(a[0]) - Number(b[0]));
    return [found.map(([id, name, qty, ...rest]) => [id, name, Number(qty), ...rest]), model];
  }
}

/** Equal as a view shows it, and as it is. */
export async function expectExact(production: Production): Promise<void> {
  const [seen, is] = await production.images();
  expect(seen).toEqual(is);
}

export const row = (n: number) => ({
  name: `n${n}`,
  qty: String(n),
  note: `note${n}`,
  old: `o${n}`,
});

export async function scene(engine: (typeof ALL_ENGINES)[number]) {
  const at = await anyRollout(engine, ITEM, OTHER);
  const production = new Production(at);
  for (const id of [1, 2, 3, 4, 5, 6]) await production.put(id, row(id));
  await at.apply(
    at.step('other', put(['id'], { id: '1', v: 'a' }), put(['id'], { id: '2', v: 'b' })),
  );
  await at.run(`UPDATE thing SET name = 'mine' WHERE id = 2`);
  await at.run('DELETE FROM thing WHERE id = 3');
  await at.run(`INSERT INTO thing VALUES (100, 'new', 1, 'n', 'o')`);
  const migrate = async (
    sql: string,
    {
      renames = [],
      beside,
    }: { readonly renames?: readonly ColumnRename[]; readonly beside?: string } = {},
  ): Promise<MigrationOutcome> => {
    const { migrations } = at.database;
    const { url } = await migrations.begin(at.fence, { role: at.role, renames });
    if (beside !== undefined) await at.run(beside);
    await at.as(url, sql);
    const outcome = await migrations.end(at.fence);
    // The account is closed again.
    await expect(at.as(url, 'SELECT 1')).rejects.toThrow(CLOSED);
    return outcome;
  };
  const rename = { table: { schema: at.source, name: 'thing' }, from: 'note', to: 'remark' };
  const kinds = async () =>
    (await at.database.overlayRows(100)).map(
      ({ table, key, kind }) => `${table.name} ${key.join('/')} ${kind}`,
    );
  return { at, production, migrate, rename, kinds };
}
