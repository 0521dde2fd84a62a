/** A database whose tables lie in the schema `shop`, an applier's session and a user's. */
import pg from 'pg';
import { afterAll, beforeAll } from 'vitest';
import type { TableId } from '../../src/change/table-id.ts';
import { RowShape, type ColumnValue, type KnownValue } from '../../src/change/value.ts';
import type { BatchStep, NetChange } from '../../src/order/change-batch.ts';
import { OVERLAY_WINS, type TablePolicy } from '../../src/overlay/policy.ts';
import type { ApplyOutcome } from '../../src/dialect/dialect.ts';
import {
  applierSessionSql,
  applyBatch,
  openApplySession,
  type ApplySession,
} from '../../src/dialect/postgres/apply/apply.ts';
import type { Swept } from '../../src/dialect/overlay.ts';
import { sweepOverlay } from '../../src/dialect/postgres/overlay/release.ts';
import { installOverlay } from '../../src/dialect/postgres/overlay/capture.ts';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import { batchOf } from '../support/overlay-applier.ts';
import { createLedgers } from '../support/ledgers.ts';
import { testDatabase } from '../support/test-database.ts';

export const { url } = await testDatabase('apply');
export const applier = new pg.Client({ connectionString: url });
export const user = new pg.Client({ connectionString: url });

/** To be called once by each file. */
export function useShop(): void {
  beforeAll(async () => {
    await Promise.all([applier.connect(), user.connect()]);
    await applier.query(applierSessionSql);
  });
  afterAll(() => Promise.all([applier.end(), user.end()]));
}

/** A fresh schema with these tables; all in the schema `shop`. */
export async function tables(ddl: string, overlay = false): Promise<void> {
  await user.query(`DROP SCHEMA IF EXISTS understudy, shop, shop__production, shop__difference CASCADE;
    CREATE SCHEMA shop; SET search_path = shop; ${ddl}`);
  await createLedgers(user);
  if (!overlay) return;
  await user.query('BEGIN');
  await installOverlay(user);
  await user.query('COMMIT');
}

/** Under these policies. */
export const applyUnder = (
  policy: TablePolicy,
  ...steps: readonly BatchStep[]
): Promise<ApplyOutcome> =>
  acting((session) => applyBatch(session, batchOf(...steps)), { policies: () => policy });

export const apply = (...steps: readonly BatchStep[]): Promise<ApplyOutcome> =>
  applyUnder(OVERLAY_WINS, ...steps);

export const shop = (name: string): TableId => ({ schema: 'shop', name });

export function rows(name: string, ...changes: readonly NetChange[]): BatchStep {
  return { kind: 'rows', table: shop(name), changes };
}

/** An upsert, a patch where it lacks columns; `key` names the key columns, `from` their former values if they changed. */
export function put(
  key: readonly string[],
  image: Readonly<Record<string, ColumnValue>>,
  from?: readonly KnownValue[],
): NetChange {
  const shape = new RowShape(Object.keys(image));
  const keyValues = key.map((column) => image[column] as KnownValue);
  return {
    kind: 'upsert',
    key: keyValues,
    from: from ?? keyValues,
    complete: false,
    image: { shape, values: Object.values(image) },
  };
}

/** A new row of which the connector does not send all columns. */
export function create(
  image: Readonly<Record<string, ColumnValue>>,
  from?: readonly KnownValue[],
): NetChange {
  return { ...put(['id'], image, from), complete: true } as NetChange;
}

export function gone(...key: readonly KnownValue[]): NetChange {
  return { kind: 'delete', key };
}

export async function content(sql: string): Promise<readonly unknown[]> {
  return (await user.query({ text: sql, rowMode: 'array' })).rows;
}

export const BIG = 'x'.repeat(200);

/** Stored out of line and uncompressed, so that a kept value shows in its chunk id. */
export const TOASTED = `CREATE TABLE doc (id int PRIMARY KEY, n int, body text);
  ALTER TABLE doc ALTER body SET STORAGE EXTERNAL;`;

/** In a transaction of the applier's. */
export async function acting<T>(
  act: (session: ApplySession) => Promise<T>,
  options: Parameters<typeof openApplySession>[2] = {},
): Promise<T> {
  const session = await openApplySession(applier, await readCatalogue(applier), options);
  await applier.query('BEGIN');
  try {
    const outcome = await act(session);
    await applier.query('COMMIT');
    return outcome;
  } catch (error) {
    await applier.query('ROLLBACK');
    throw error;
  }
}

/** A whole one, a transaction for each part. */
export async function sweep(): Promise<void> {
  for (let place: string | null = null; ;) {
    const from: string | null = place;
    const { next }: Swept = await acting((session) => sweepOverlay(session, from));
    if (next === null) return;
    place = next;
  }
}
