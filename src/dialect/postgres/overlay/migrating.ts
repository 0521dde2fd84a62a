/**
 * A migration of the candidate's. Production's image of every table is copied aside before, and what the
 * migration left is compared with it after; in between nothing captures, for what captures would break
 * with the columns that it names, and a migration may be what tampers with it. Both ends are one
 * transaction each.
 *
 * Invariant: from one to the other production's image is in the copies alone, on which the candidate, and who
 * migrates, have no right. What a crash leaves is ended by who takes the fence.
 */
import { escapeIdentifier, type ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { SchemaCatalogue, TableSchema } from '../../../schema/table-schema.ts';
import type { MigratingAccount, MigrationOutcome } from '../../migrating.ts';
import { describeReshaped, reshapeOf, type Reshaped } from '../../sql/reshaped.ts';
import { readApplierRights, readSparedAccount } from '../apply/applier-rights.ts';
import { describeTable, type ApplyTable } from '../apply/apply-table.ts';
import { readCatalogue } from '../catalogue/catalogue.ts';
import { readComparisons } from '../catalogue/key-facts.ts';
import {
  CAPTURED_TABLE,
  functionId,
  journalId,
  OWN_SCHEMA,
  relation,
  shortened,
  viewId,
} from '../session/names.ts';
import type { ServerAddress } from '../session/session.ts';
import { spareApplier } from '../shadow/fallback-schema.ts';
import { openMigratingRole, takeTablesBack } from '../shadow/migrating-role.ts';
import { captureTables, readCapturedTables } from './capture.ts';
import { CAPTURE_PURPOSES } from './capture-sql.ts';
import { settleAll } from './blocked-sql.ts';
import { castable, fillAsImage, fillAsOwn, keepFacts } from './filled-journal.ts';
import { readGenerated } from './generated.ts';
import { readCaptured } from './journal.ts';
import {
  describeKept,
  ensureKeptImages,
  forgetReshaped,
  keepImage,
  keptView,
  readReshapes,
  saveOwnTables,
  savesReshaped,
} from './reshapes.ts';
import { raiseSequences } from './sequences-above.ts';
import { viewSchemaStatements } from './views.ts';

/**
 * Tables are read and compared whole here, and somebody may be at one for a while. Definitions are read with
 * qualified names.
 */
const SETTINGS = `SET LOCAL search_path = ''; SET LOCAL lock_timeout = '5s';
  SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on`;

/** What a table keeps through changes of its names. */
interface Numbered {
  readonly oid: number;
  readonly columns: Readonly<Record<string, number>>;
}

/** What is to be known at the end, as JSON. By `tableName()` as they were. */
interface Begun {
  readonly tables: Readonly<Record<string, Numbered>>;
  /** Tables of production's without a key: what is written there is not captured. */
  readonly keyless: readonly string[];
  /** Triggers that act on what is applied. */
  readonly always: readonly string[];
}

/** What begins one, as the catalogue is: pure statements. */
export interface Beginning {
  /** Keep production's image of each table that is captured as production has it. */
  readonly keep: readonly string[];
  /** Let go of the views beside tables. */
  readonly letGo: readonly string[];
  /** What is to be known at the end. */
  readonly begun: string;
  /** All that are captured. */
  readonly tables: readonly ApplyTable[];
}

/** In the caller's fenced transaction. Errors: see Migrations. */
export async function beginMigration(
  client: ClientBase,
  at: { readonly address: ServerAddress; readonly database: string; readonly candidate: string },
): Promise<MigratingAccount> {
  await client.query(SETTINGS);
  const { keep, letGo, begun } = await readBeginning(client, (table) => table);
  for (const sql of keep) await client.query(sql);
  await client.query(`INSERT INTO ${OWN_SCHEMA}.migrating (candidate, begun) VALUES ($1, $2)`, [
    ...[at.candidate, begun],
  ]);
  const { rows } = await client.query<{ drop: string }>(DROP_TRIGGERS);
  for (const { drop } of rows) await client.query(drop);
  for (const sql of letGo) await client.query(sql);
  return openMigratingRole(client, at.address, at.database);
}

/** Nothing is written. `source`: of what a table's image is kept, where keys wait beside its journal. */
export async function readBeginning(
  client: ClientBase,
  source: (table: ApplyTable) => ApplyTable,
): Promise<Beginning> {
  const catalogue = await readCatalogue(client);
  const comparisons = await readComparisons(client);
  const generated = await readGenerated(client);
  const { tables: before, own } = await readReshapes(client);
  const visible = new Set([...before.values()].map((one) => nameOf(one.visible)));
  const captured = (await readCaptured(client)) ?? new Map<string, TableId>();
  const there = [...captured].flatMap(([label, journal]) => {
    const schema = catalogue.get(label);
    return schema === undefined ? [] : [describeTable(schema, comparisons, journal)];
  });
  const kept = there.filter(({ label }) => !visible.has(label) && !own.has(label));
  const keep = kept.flatMap((table) => {
    const { label, schema } = table;
    const columns = new Map(table.columns.map(({ schema: { name } }) => [name, name] as const));
    const partitions = partitionsOf(catalogue, schema.id);
    return [
      settleAll(table),
      ...keepImage(source(table), generated.get(label) ?? []),
      savesReshaped({ schema, visible: schema.id, columns, partitions }),
    ];
  });
  const isKeyless = ({ id, partitionOf }: TableSchema): boolean =>
    partitionOf === undefined && !captured.has(tableName(id));
  const begun: Begun = {
    tables: Object.fromEntries(await readNumbers(client)),
    keyless: [...catalogue.values()].filter(isKeyless).map(({ id }) => tableName(id)),
    always: await readAlways(client),
  };
  const beside = [...there, ...before.values()].map(({ schema }) => schema.id);
  const letGo = beside.flatMap((id) =>
    (['production', 'difference'] as const).map(
      (view) => `DROP VIEW IF EXISTS ${relation(viewId(id, view))}`,
    ),
  );
  return { keep, letGo, begun: JSON.stringify(begun), tables: there };
}

function nameOf(table: TableId | null): string | null {
  return table === null ? null : tableName(table);
}

function partitionsOf(catalogue: SchemaCatalogue, root: TableId): readonly TableSchema[] {
  return [...catalogue.values()].filter(
    ({ partitionOf }) => partitionOf !== undefined && tableName(partitionOf) === tableName(root),
  );
}

async function readNumbers(client: ClientBase): Promise<ReadonlyMap<string, Numbered>> {
  const { rows } = await client.query<{
    schema: string;
    name: string;
    oid: number;
    columns: Record<string, number>;
  }>(
    `SELECT n.nspname AS schema, c.relname AS name, c.oid::int8::float8 AS oid,
        (SELECT pg_catalog.json_object_agg(a.attname, a.attnum)::text FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)::json AS columns
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p') AND n.nspname <> '${OWN_SCHEMA}' AND n.nspname !~ '^pg_'`,
  );
  return new Map(
    rows.map(({ oid, columns, ...id }) => {
      // The session's types leave JSON as it came.
      const parsed =
        typeof columns === 'string' ? (JSON.parse(columns) as typeof columns) : columns;
      return [tableName(id), { oid, columns: parsed }] as const;
    }),
  );
}

const ALWAYS = `SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS "table",
    pg_catalog.quote_ident(t.tgname) AS name
  FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE NOT t.tgisinternal AND t.tgenabled IN ('A', 'R') AND n.nspname !~ '^pg_'`;

const ACTING_RULES = `SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS "table",
    pg_catalog.quote_ident(r.rulename) AS name
  FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE r.ev_enabled IN ('A', 'R') AND c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_'`;

async function readAlways(client: ClientBase): Promise<readonly string[]> {
  const { rows } = await client.query<{ table: string; name: string }>(ALWAYS);
  return rows.map(({ table, name }) => `${name} ON ${table}`);
}

/** Each as a statement that drops a trigger of ours, which a change of its table could break. */
export const DROP_TRIGGERS = `SELECT pg_catalog.format('DROP TRIGGER %I ON %I.%I', t.tgname, n.nspname, c.relname) AS drop
  FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
  WHERE p.pronamespace = pg_catalog.to_regnamespace('${OWN_SCHEMA}') AND NOT t.tgisinternal
    AND t.tgparentid = 0 ORDER BY 1`;

export async function isMigrating(client: ClientBase): Promise<boolean> {
  const { rows } = await client.query<{ there: boolean }>(
    `SELECT EXISTS (SELECT FROM ${OWN_SCHEMA}.migrating) AS there`,
  );
  return rows[0]?.there === true;
}

/**
 * In the caller's fenced transaction, when nobody is in as who migrates. INTERNAL if none was begun. Errors:
 * see Migrations.
 */
export async function endMigration(
  client: ClientBase,
  database: string,
): Promise<MigrationOutcome> {
  const { rows } = await client.query<{ candidate: string; begun: string; byItself: boolean }>(
    `SELECT candidate, begun, by_itself IS TRUE AS "byItself" FROM ${OWN_SCHEMA}.migrating`,
  );
  const [noted] = rows;
  if (noted === undefined) {
    throw new UnderstudyError('INTERNAL', 'no migration was begun', { database });
  }
  await client.query(SETTINGS);
  const begun = JSON.parse(noted.begun) as Begun;
  await keepWritersOut(client);
  // Where they are its own they stay so: a change of owner keeps even readers out.
  if (!noted.byItself) await takeTablesBack(client, database, noted.candidate);
  await calm(client, begun.always);
  const outcome = await new Reconciling(client, begun).run();
  await raiseSequences(client);
  await client.query(`DELETE FROM ${OWN_SCHEMA}.migrating`);
  return outcome;
}

async function keepWritersOut(client: ClientBase): Promise<void> {
  const names = [...(await readCatalogue(client)).values()]
    .filter(({ partitionOf }) => partitionOf === undefined)
    .map(({ id }) => relation(id));
  if (names.length > 0) {
    await client.query(`LOCK TABLE ${names.join(', ')} IN SHARE ROW EXCLUSIVE MODE`);
  }
}

/** Triggers and rules that a migration made act for the candidate, and not on what is applied. */
async function calm(client: ClientBase, before: readonly string[]): Promise<void> {
  const { rows } = await client.query<{ table: string; name: string }>(ALWAYS);
  for (const { table, name } of rows) {
    if (before.includes(`${name} ON ${table}`)) continue;
    await client.query(`ALTER TABLE ${table} ENABLE TRIGGER ${name}`);
  }
  const rules = await client.query<{ table: string; name: string }>(ACTING_RULES);
  for (const { table, name } of rules.rows) {
    await client.query(`ALTER TABLE ${table} ENABLE RULE ${name}`);
  }
  const spared = await readSparedAccount(client);
  if (spared === null) return;
  const { cure } = await readApplierRights(client);
  await spareApplier(client, spared, cure);
  await client.query(SETTINGS);
}

class Reconciling {
  readonly #client: ClientBase;
  readonly #begun: Begun;

  constructor(client: ClientBase, begun: Begun) {
    this.#client = client;
    this.#begun = begun;
  }

  async run(): Promise<MigrationOutcome> {
    const client = this.#client;
    const { tables: before } = await readReshapes(client);
    const catalogue = await readCatalogue(client);
    const comparisons = await readComparisons(client);
    const numbers = await readNumbers(client);
    const found: { readonly one: Reshaped; readonly isSame: boolean; readonly kept: ApplyTable }[] =
      [];
    for (const was of before.values()) {
      const one = this.#found(was, { catalogue, numbers });
      const kept = describeKept(was, comparisons);
      const identity = { ...was, visible: was.schema.id, columns: same(was) };
      const now = catalogue.get(nameOf((one ?? identity).visible) ?? '');
      const cast =
        now === undefined ? null : await castable(client, { schema: now }, one ?? identity, kept);
      const visible = cast === null ? null : cast.visible;
      found.push({ one: { ...(cast ?? one ?? was), visible }, isSame: one === null, kept });
    }
    const former = await this.#setJournalsAside();
    const reshaped = found.filter(({ isSame }) => !isSame);
    const apart = new Set(
      reshaped.flatMap(({ one }) => [tableName(one.schema.id), nameOf(one.visible) ?? '']),
    );
    for (const { kept } of reshaped) await ensureKeptImages(client, kept);
    const { notCaptured } = await captureTables(
      client,
      await readSparedAccount(client),
      () => true,
      apart,
    );
    for (const { kept } of reshaped) {
      const { schema } = kept.schema.id;
      for (const sql of [...viewSchemaStatements(schema), keptView(kept)]) await client.query(sql);
    }
    const captured = new Map((await readCapturedTables(client)).map((one) => [one.label, one]));
    const followed = new Set<string>();
    for (const { one, isSame, kept } of found) {
      const label = nameOf(one.visible);
      const table = label === null ? undefined : captured.get(label);
      const isFilled =
        table !== undefined && (await fillAsImage(client, table, { reshaped: one, kept }));
      if (isSame && isFilled) await forgetReshaped(client, one.schema.id);
      else await client.query(savesReshaped(isFilled ? one : { ...one, visible: null }));
      if (isFilled) followed.add(table.label);
      const old = former.get(nameOf(before.get(tableName(one.schema.id))?.visible ?? null) ?? '');
      if (isFilled && old !== undefined) await keepFacts(client, table, old);
    }
    const own = await this.#own(catalogue, captured, { followed, former });
    await this.#dropFormer(former, captured);
    const { tables } = await readReshapes(client);
    return {
      reshaped: [...tables.values()].map((one) =>
        describeReshaped(one, catalogue.get(nameOf(one.visible) ?? '')),
      ),
      own,
      notCaptured,
    };
  }

  /** Null where it is as production has it. */
  #found(
    was: Reshaped,
    {
      catalogue,
      numbers,
    }: { readonly catalogue: SchemaCatalogue; readonly numbers: ReadonlyMap<string, Numbered> },
  ): Reshaped | null {
    const begun = was.visible === null ? undefined : this.#begun.tables[tableName(was.visible)];
    const now = [...numbers].find(([, { oid }]) => oid === begun?.oid);
    const schema = now === undefined ? null : (catalogue.get(now[0]) ?? null);
    const names = new Map(Object.entries(now?.[1].columns ?? {}).map(([name, n]) => [n, name]));
    const nameNow = (column: string): string | null => {
      const name = was.columns.has(column) ? (was.columns.get(column) ?? null) : column;
      const number = name === null ? undefined : begun?.columns[name];
      return number === undefined ? null : (names.get(number) ?? null);
    };
    const partitions = schema === null ? [] : partitionsOf(catalogue, schema.id);
    return reshapeOf(was, schema, nameNow, partitions);
  }

  /** By `tableName()` as they were. */
  async #setJournalsAside(): Promise<ReadonlyMap<string, TableId>> {
    const client = this.#client;
    const former = new Map<string, TableId>();
    for (const [label, journal] of (await readCaptured(client)) ?? []) {
      const name = shortened(label, '#former');
      await client.query(`ALTER TABLE ${relation(journal)} RENAME TO ${escapeIdentifier(name)}`);
      former.set(label, { schema: OWN_SCHEMA, name });
    }
    await client.query(`DELETE FROM ${CAPTURED_TABLE}`);
    return former;
  }

  /** Tables that only the candidate has. */
  async #own(
    catalogue: SchemaCatalogue,
    captured: ReadonlyMap<string, ApplyTable>,
    {
      followed,
      former,
    }: { readonly followed: ReadonlySet<string>; readonly former: ReadonlyMap<string, TableId> },
  ): Promise<readonly TableId[]> {
    const own: TableId[] = [];
    for (const [label, { id, partitionOf }] of catalogue) {
      const isOwn = !followed.has(label) && !this.#begun.keyless.includes(label);
      if (!isOwn || partitionOf !== undefined) continue;
      own.push(id);
      const table = captured.get(label);
      if (table === undefined) continue;
      await fillAsOwn(this.#client, table);
      const old = former.get(label);
      if (old !== undefined) await keepFacts(this.#client, table, old);
    }
    await saveOwnTables(this.#client, own);
    return own;
  }

  async #dropFormer(
    former: ReadonlyMap<string, TableId>,
    captured: ReadonlyMap<string, ApplyTable>,
  ): Promise<void> {
    const ids = new Map<string, TableId>();
    for (const [label, table] of former) {
      await this.#client.query(`DROP TABLE ${relation(table)}`);
      const dot = label.indexOf('.');
      ids.set(label, { schema: label.slice(0, dot), name: label.slice(dot + 1) });
    }
    const { rows } = await this.#client.query<{ name: string }>(
      `SELECT DISTINCT p.proname AS name FROM pg_catalog.pg_trigger t
        JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
        WHERE p.pronamespace = pg_catalog.to_regnamespace('${OWN_SCHEMA}')`,
    );
    const used = new Set(rows.map(({ name }) => name));
    for (const [label, id] of ids) {
      if (captured.has(label)) continue;
      for (const purpose of CAPTURE_PURPOSES) {
        const one = functionId(id, purpose);
        // What was a table of its own may be a partition now.
        if (used.has(one.name)) continue;
        await this.#client.query(`DROP FUNCTION IF EXISTS ${relation(one)}()`);
      }
      await this.#client.query(`DROP TABLE IF EXISTS ${relation(journalId(id))}`);
    }
  }
}

function same({ schema }: Reshaped): Reshaped['columns'] {
  return new Map(
    schema.columns.flatMap(({ name, generated }) => (generated === 'no' ? [[name, name]] : [])),
  );
}
