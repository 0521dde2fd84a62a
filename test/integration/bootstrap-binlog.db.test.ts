/**
 * A trunk of MySQL and MariaDB filled by a pinned copy: where the pin lies in the binlog, by the binlog
 * itself; every type; a copy that is cut off. End to end with Debezium:
 * test/e2e/bootstrap-binlog.e2e.test.ts.
 */
import type { Connection, RowDataPacket } from 'mysql2/promise';
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  bootstrap,
  DEFAULT_BOOTSTRAP,
  type BootstrapOptions,
} from '../../src/bootstrap/bootstrap.ts';
import { logPosition, type SourcePosition } from '../../src/change/position.ts';
import {
  copySourceOf,
  copyTargetOf,
  type BootstrapState,
  type CopyRange,
  type CopyReader,
  type CopySource,
  type CopyTarget,
} from '../../src/dialect/copying.ts';
import type { Fence, ShadowDatabase } from '../../src/dialect/dialect.ts';
import { dialectFor } from '../../src/dialect/registry.ts';
import { silentLogger } from '../../src/observability/logger.ts';
import { BINLOG, connectBinlog, readBinlog } from '../support/types/binlog.ts';
import type { Rows } from '../support/types/exceptions.ts';
import { MARIADB_TABLES, MYSQL_TABLES } from '../support/types/binlog-tables.ts';
import { snapshotSql } from '../support/types/type-table.ts';
import { ENGINES, freshName, serverOf, sessionOn, shadowServer } from './mysql.fixture.ts';

interface Filled {
  readonly url: string;
  readonly source: string;
  readonly trunk: string;
  readonly database: ShadowDatabase;
  readonly target: CopyTarget;
  readonly fence: Fence;
  readonly production: CopySource;
}

const OPTIONS: BootstrapOptions = {
  ...DEFAULT_BOOTSTRAP,
  jobs: 3,
  rangeBytes: 64 * 1024,
  timing: { everyMs: 5, timeoutMs: 10_000 },
  pinTimeoutMs: 30_000,
  signal: new AbortController().signal,
};

/** A production that `fill` has filled, and a trunk of it that is to be. */
async function setting(
  engine: (typeof ENGINES)[number],
  fill: (url: string) => Promise<void>,
): Promise<Filled> {
  const { url } = await serverOf(engine);
  const source = freshName('prod', url);
  const setup = await sessionOn(url);
  await setup.query(`CREATE DATABASE ${source} CHARACTER SET utf8mb4`);
  await fill(`${url}${source}`);
  const production = await dialectFor(url).connectProduction(`${url}${source}`, () => true);
  const server = await shadowServer(url);
  const trunk = freshName('trunk', url);
  const plan = await production.planShadow();
  await server.createTrunk({ name: trunk, topicPrefix: 'p', plan, bootstrap: true });
  const database = await server.open(trunk);
  if (database === null) throw new Error('there is no trunk');
  onTestFinished(() => database[Symbol.asyncDispose]());
  const fence = await database.takeFence('test');
  const [target, copying] = [copyTargetOf(database), copySourceOf(production)];
  if (fence === null || target === null || copying === null) throw new Error('cannot be copied');
  return { url, source, trunk, database, target, fence, production: copying };
}

/** Without a log: nothing is handed over but where the copy stands. */
async function copy(
  at: Filled,
  changed: Partial<BootstrapOptions> = {},
  production: CopySource = at.production,
): Promise<BootstrapState> {
  await bootstrap(
    {
      ...{ target: at.target, fence: at.fence, production, logger: silentLogger },
      source: { ends: () => Promise.resolve(new Map()), starts: () => Promise.resolve(new Map()) },
      offsets: { description: 'all of it', committed: () => Promise.resolve(1n << 62n) },
      ...{ catalogue: await at.database.catalogue(), includes: () => true },
    },
    { ...OPTIONS, ...changed },
  );
  const state = await at.target.state();
  if (state === null) throw new Error('it was not to be filled');
  expect(state.ends).not.toBeNull();
  return state;
}

/** A decimal inside of JSON becomes a double on its way through JSON's text, here as in an event. */
function told(rows: Rows): unknown {
  return [...rows].map(([id, cells]) => [
    id,
    [...cells].filter(([column]) => column !== 'c_json_typed'),
  ]);
}

/** Ids of the table `ledger` that a reader's pieces hold. */
async function ledgerOf(reader: CopyReader, range: CopyRange): Promise<readonly number[]> {
  return await reader.read(range, ['id'], async (rows) => {
    const ids: number[] = [];
    for await (const piece of rows) {
      for (const [, id] of Buffer.from(piece)
        .toString()
        .matchAll(/\((\d+)\)/g))
        ids.push(Number(id));
    }
    return ids.toSorted((a, b) => a - b);
  });
}

interface Place {
  readonly gtid: string;
  readonly file: string;
  readonly pos: bigint;
}

interface BinlogEvent extends RowDataPacket {
  readonly Log_name: string;
  readonly Pos: number;
  readonly Event_type: string;
  readonly Info: string;
}

/** Where the binlog has the rows of `ledger`, from a file on, as the server itself lists it. */
async function placesOf(client: Connection, first: string): Promise<ReadonlyMap<number, Place>> {
  const [files] = await client.query<RowDataPacket[]>('SHOW BINARY LOGS');
  const places = new Map<number, Place>();
  for (const file of files.map((row) => String(row['Log_name'])).filter((name) => name >= first)) {
    const [events] = await client.query<BinlogEvent[]>(`SHOW BINLOG EVENTS IN '${file}'`);
    let gtid = '';
    let id: number | null = null;
    for (const { Event_type: type, Info: info, Pos: pos } of events) {
      if (type === 'Gtid') gtid = /([0-9a-f-]{36}:\d+|\d+-\d+-\d+)/.exec(info)?.[1] ?? '';
      const inserted = /INSERT INTO ledger VALUES \((\d+)\)/.exec(info)?.[1];
      if (inserted !== undefined) id = Number(inserted);
      if (!type.startsWith('Write_rows') || id === null) continue;
      places.set(id, { gtid, file, pos: BigInt(pos) });
      id = null;
    }
  }
  return places;
}

const two = async (url: string): Promise<void> => {
  const client = await connectBinlog(url);
  await client.query('CREATE TABLE big (a INT, b VARCHAR(20), v INT, PRIMARY KEY (b, a))');
  await client.query('CREATE TABLE plain (v INT, s VARCHAR(9))');
  await client.query(`INSERT INTO big WITH RECURSIVE g AS (
    SELECT 1 AS n UNION ALL SELECT n + 1 FROM g WHERE n < 900) SELECT n, CONCAT('w', n % 7), n FROM g`);
  for (let i = 0; i < 3; i += 1) {
    await client.query('INSERT INTO big SELECT a + (SELECT MAX(a) FROM big), b, v FROM big');
  }
  await client.query(`INSERT INTO plain VALUES (1, 'twin'), (1, 'twin'), (NULL, NULL)`);
  await client.end();
};

async function lastFile(client: Connection): Promise<string | undefined> {
  const [files] = await client.query<RowDataPacket[]>('SHOW BINARY LOGS');
  return files.map((row) => String(row['Log_name'])).at(-1);
}

describe.each(ENGINES)('%s', (engine) => {
  it('copies every type exactly', async () => {
    const tables = engine === 'mysql' ? MYSQL_TABLES : MARIADB_TABLES;
    const at = await setting(engine, async (url) => {
      const client = await connectBinlog(url);
      for (const table of tables) {
        for (const sql of snapshotSql(table, BINLOG)) await client.query(sql);
      }
      await client.end();
    });
    const state = await copy(at);
    expect(state.tables.map(({ table }) => table.name).toSorted()).toEqual(
      tables.map(({ name }) => name).toSorted(),
    );
    const [ours, theirs] = [
      await connectBinlog(`${at.url}${at.trunk}`),
      await connectBinlog(`${at.url}${at.source}`),
    ];
    for (const { name } of tables) {
      expect(told(await readBinlog(ours, name))).toEqual(told(await readBinlog(theirs, name)));
    }
    await Promise.all([ours.end(), theirs.end()]);
  });

  it('pins sessions of one snapshot where the binlog says, whatever is written', async () => {
    const at = await setting(engine, async (url) => {
      const client = await connectBinlog(url);
      await client.query('CREATE TABLE ledger (id INT PRIMARY KEY)');
      await client.query('CREATE TABLE hot (id INT PRIMARY KEY, v INT)');
      await client.query('INSERT INTO hot VALUES (1, 0), (2, 0), (3, 0)');
      await client.end();
    });
    const look = await connectBinlog(`${at.url}${at.source}`);
    await look.query('FLUSH BINARY LOGS');
    const first = (await lastFile(look)) ?? '';
    let [next, stopping] = [0, false];
    const write = async (): Promise<void> => {
      const client = await connectBinlog(`${at.url}${at.source}`);
      if (engine === 'mysql') await client.query('SET binlog_rows_query_log_events = 1');
      while (!stopping) {
        next += 1;
        const id = next;
        try {
          await client.query('BEGIN');
          await client.query(`INSERT INTO ledger VALUES (${String(id)})`);
          await client.query('UPDATE hot SET v = v + 1 WHERE id = ?', [1 + (id % 3)]);
          await client.query(id % 9 === 0 ? 'ROLLBACK' : 'COMMIT');
        } catch (error) {
          // Of each other's locks, and of those that a pin by tables takes.
          if ((error as { errno?: number }).errno !== 1213) throw error;
        }
      }
      await client.end();
    };
    const writers = Promise.all(Array.from({ length: 10 }, write));
    const ledger = { schema: at.source, name: 'ledger' };
    const pins: { snapshot: string; marker: bigint; seen: readonly (readonly number[])[] }[] = [];
    const options = { readers: 3, timeoutMs: 60_000, signal: OPTIONS.signal };
    try {
      for (let i = 0; i < 12; i += 1) {
        const { transaction } = await at.production.mark();
        await using pinned = await at.production.pinAfter(transaction, options);
        const [range] = await pinned.ranges(ledger, 1 << 30);
        if (range === undefined) throw new Error('nothing to read');
        const seen: (readonly number[])[] = [];
        for (let reader = 0; reader < pinned.readers; reader += 1) {
          seen.push(await ledgerOf(await pinned.openReader(), range));
        }
        pins.push({ snapshot: pinned.snapshot, marker: pinned.marker, seen });
      }
    } finally {
      stopping = true;
      await writers;
    }
    const places = await placesOf(look, first);
    await look.end();
    expect(places.size).toBeGreaterThan(50);
    // MariaDB may find fewer that have one place, while all the others write.
    const least = engine === 'mysql' ? 3 : 1;
    expect(Math.min(...pins.map(({ seen }) => seen.length))).toBeGreaterThanOrEqual(least);
    for (const { snapshot, marker, seen } of pins) {
      const views = [snapshot, snapshot.replace(/ .*/, '')].map((text) =>
        dialectFor(at.url).snapshotView(text),
      );
      const visible = (told: (place: Place) => boolean | null | undefined): readonly number[] =>
        [...places]
          .filter(([, place]) => told(place) === true)
          .map(([id]) => id)
          .toSorted((a, b) => a - b);
      const source = (place: Place, gtid: string | null): SourcePosition => ({
        ...{ connector: engine, file: place.file, pos: place.pos, row: 0, gtid },
      });
      expect(visible((place) => views[0]?.sees(source(place, place.gtid)))).toEqual(seen[0]);
      expect(visible(({ gtid }) => views[0]?.seesTransaction(gtid))).toEqual(seen[0]);
      expect(visible((place) => views[1]?.sees(source(place, null)))).toEqual(seen[0]);
      expect(visible((place) => (logPosition(source(place, null)) ?? 0n) < marker)).toEqual(
        seen[0],
      );
      for (const other of seen) expect(other).toEqual(seen[0]);
    }
  });

  async function expectCopied(at: Filled): Promise<void> {
    for (const table of ['big', 'plain']) {
      const sql = (name: string): string =>
        `SELECT COUNT(*) AS n, SUM(CRC32(CONCAT_WS('|', t.v, ${table === 'big' ? 't.a, t.b' : 't.s'})))
          AS h FROM ${name}.${table} t`;
      const client = await sessionOn(at.url);
      const [ours] = await client.query(sql(at.trunk));
      expect(ours).toEqual((await client.query(sql(at.source)))[0]);
    }
  }

  it('goes on with what was not done, and empties what was half done', async () => {
    const at = await setting(engine, two);
    const cut = new AbortController();
    const cutOff = copy(at, {
      ...{ jobs: 1, signal: cut.signal },
      onProgress: ({ tablesDone }) => {
        if (tablesDone > 0) cut.abort(new Error('cut off'));
      },
    });
    await expect(cutOff).rejects.toThrow('cut off');
    const before = await at.target.state();
    expect(before).toMatchObject({ ends: null });
    const undone = before?.tables.find(({ done }) => !done)?.table.name ?? '';
    const client = await sessionOn(at.url);
    await client.query(`INSERT INTO ${at.trunk}.${undone} (v) VALUES (7)`).catch(() => undefined);
    const after = await copy(at);
    expect(new Set(after.tables.map(({ snapshot }) => snapshot)).size).toBeGreaterThan(0);
    expect(after.tables.every(({ done, rows }) => done && rows > 0)).toBe(true);
    await expectCopied(at);
  });

  it('copies again what is truncated or altered after the snapshot', async () => {
    const at = await setting(engine, two);
    const client = await sessionOn(at.url, at.source);
    let pins = 0;
    const production: CopySource = {
      mark: () => at.production.mark(),
      pinAfter: async (transaction, options) => {
        const pinned = await at.production.pinAfter(transaction, options);
        pins += 1;
        if (pins > 1) return pinned;
        await client.query('TRUNCATE plain');
        await client.query(`INSERT INTO plain VALUES (2, 'later')`);
        return pinned;
      },
    };
    const state = await copy(at, {}, production);
    expect(new Set(state.tables.map(({ snapshot }) => snapshot)).size).toBe(2);
    expect(pins).toBe(2);
    await expectCopied(at);
  });

  it('refuses a table that no snapshot shows', async () => {
    const at = await setting(engine, two);
    const client = await sessionOn(at.url);
    await client.query(`CREATE TABLE ${at.source}.old (id INT PRIMARY KEY) ENGINE=MyISAM`);
    const { transaction } = await at.production.mark();
    await using pinned = await at.production.pinAfter(transaction, TWO);
    await expect(pinned.ranges({ schema: at.source, name: 'old' }, 1)).rejects.toMatchObject({
      code: 'READ_FAILED',
      context: { detail: expect.stringContaining('MyISAM') as string },
    });
  });

  it('lets nobody write whose fence was taken', async () => {
    const at = await setting(engine, two);
    const { transaction } = await at.production.mark();
    const options = { ...TWO, readers: 1 };
    await using pinned = await at.production.pinAfter(transaction, options);
    const table = { schema: at.source, name: 'plain' };
    await at.target.begin(at.fence, { offsets: new Map([['p.t/0', 3n]]), transaction });
    await at.target.startTables(at.fence, pinned, [{ table, ranges: 1, bytes: 1 }]);
    const [range] = await pinned.ranges(table, 1 << 30);
    if (range === undefined) throw new Error('nothing to read');
    await using reader = await pinned.openReader();
    await using writer = await at.target.openWriter(at.fence);
    await at.database.releaseFence(at.fence);
    const taken = await at.database.takeFence('another');
    expect(taken).not.toBeNull();
    await expect(
      reader.read(range, ['v', 's'], (rows) => writer.write(range, ['v', 's'], rows)),
    ).rejects.toMatchObject({ code: expect.stringMatching(/FENCED|SHADOW_UNREACHABLE/) as string });
    const client = await sessionOn(at.url);
    expect((await client.query(`SELECT * FROM ${at.trunk}.plain`))[0]).toEqual([]);
    expect((await at.database.resumePoint()).position.offsets).toEqual(new Map([['p.t/0', 3n]]));
  });
});

const TWO = { readers: 2, timeoutMs: 10_000, signal: OPTIONS.signal };

/** A production as an account sees it that may only SELECT; and what grants it more. */
async function asReader(at: Filled): Promise<{
  readonly source: CopySource;
  readonly grant: (what: string) => Promise<void>;
}> {
  const client = await sessionOn(at.url);
  const user = freshName('u', at.url);
  await client.query(`CREATE USER '${user}'@'%' IDENTIFIED BY 'secret'`);
  onTestFinished(async () => {
    const admin = await connectBinlog(at.url);
    await admin.query(`DROP USER '${user}'@'%'`);
    await admin.end();
  });
  const grant = async (what: string): Promise<void> => {
    await client.query(`GRANT ${what} TO '${user}'@'%'`);
  };
  await grant(`SELECT ON ${at.source}.*`);
  const url = at.url.replace(/\/\/[^@]*@/, `//${user}:secret@`);
  const source = copySourceOf(
    await dialectFor(url).connectProduction(`${url}${at.source}`, () => true),
  );
  if (source === null) throw new Error('cannot be copied');
  return { source, grant };
}

it('names the rights that MySQL asks for, and goes on with the lesser lock', async () => {
  const at = await setting('mysql', two);
  const { source, grant } = await asReader(at);
  const lacks = (detail: string): unknown => ({
    code: 'DATABASE_PERMISSION',
    context: { detail: expect.stringContaining(detail) as string },
  });
  await expect(source.mark()).rejects.toMatchObject(lacks('GRANT REPLICATION CLIENT') as object);
  await grant('REPLICATION CLIENT ON *.*');
  const { transaction } = await source.mark();
  await expect(source.pinAfter(transaction, TWO)).rejects.toMatchObject(
    lacks('LOCK TABLES') as object,
  );
  await grant(`LOCK TABLES ON ${at.source}.*`);
  const writer = await sessionOn(at.url, at.source);
  await writer.query('BEGIN');
  await writer.query(`INSERT INTO plain VALUES (5, 'open')`);
  await expect(source.pinAfter(transaction, { ...TWO, timeoutMs: 1_500 })).rejects.toMatchObject({
    code: 'PIN_FAILED',
  });
  await writer.query('COMMIT');
  await using pinned = await source.pinAfter(transaction, TWO);
  expect(pinned.readers).toBe(2);
});

it('pins MariaDB with the right to SELECT alone, not before what the binlog has', async () => {
  const at = await setting('mariadb', two);
  const { source } = await asReader(at);
  const { transaction } = await source.mark();
  await using pinned = await source.pinAfter(transaction, TWO);
  expect(pinned.readers).toBe(2);
  // Far beyond: other tests write to the same server.
  const later = transaction.replace(/\d+$/, (number) => String(Number(number) + 1_000_000));
  await expect(source.pinAfter(later, { ...TWO, timeoutMs: 500 })).rejects.toMatchObject({
    code: 'PIN_FAILED',
  });
});

it('does not pin while an XA transaction is prepared, whose rows are in the log', async () => {
  for (const engine of ENGINES) {
    const at = await setting(engine, two);
    const client = await sessionOn(at.url, at.source);
    await client.query(`XA START 'x'`);
    await client.query(`INSERT INTO plain VALUES (6, 'xa')`);
    await client.query(`XA END 'x'`);
    await client.query(`XA PREPARE 'x'`);
    const { transaction } = await at.production.mark();
    const pinning = at.production.pinAfter(transaction, { ...TWO, timeoutMs: 1_000 });
    await expect(pinning).rejects.toMatchObject({
      code: 'PIN_FAILED',
      context: { detail: expect.stringContaining('XA RECOVER') as string },
    });
    await client.query(`XA ROLLBACK 'x'`);
  }
});

it('holds no table of MySQL for longer than a range of it is read', async () => {
  const at = await setting('mysql', two);
  const client = await sessionOn(at.url, at.source);
  const options = { ...TWO, readers: 1 };
  const { transaction } = await at.production.mark();
  await using pinned = await at.production.pinAfter(transaction, options);
  const [range] = await pinned.ranges({ schema: at.source, name: 'plain' }, 1 << 30);
  if (range === undefined) throw new Error('nothing to read');
  await using reader = await pinned.openReader();
  await reader.read(range, ['v'], async (rows) => {
    for await (const piece of rows) expect(piece.length).toBeGreaterThan(0);
  });
  await client.query('SET lock_wait_timeout = 2');
  await client.query('ALTER TABLE plain ADD COLUMN more INT');
});
