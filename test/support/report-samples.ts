import { buildDivergence } from '../../src/report/divergence.ts';
import type { DriftReport } from '../../src/report/drift-report.ts';

const at = (second: number): Date => new Date(Date.UTC(2026, 10, 24, 9, 42, second));

/** A candidate with two bugs: it rounds totals up, and forgets a status. */
export function sampleDivergence(showValues: boolean): NonNullable<DriftReport['divergence']> {
  const order = { table: 'public.orders', keyColumns: ['id'] } as const;
  return buildDivergence({
    showValues,
    tables: [
      {
        table: 'public.orders',
        inserted: 1,
        updated: 4,
        deleted: 0,
        blocked: 0,
        pairs: 0,
        paired: 0,
        equal: 118,
        rows: 5_214,
      },
      {
        table: 'public.order_items',
        inserted: 0,
        updated: 0,
        deleted: 1,
        blocked: 0,
        pairs: 0,
        paired: 0,
        equal: 0,
        rows: 16_022,
      },
      {
        table: 'public.customers',
        inserted: 0,
        updated: 0,
        deleted: 0,
        blocked: 0,
        pairs: 0,
        paired: 0,
        equal: 3,
        rows: 1_200,
      },
    ],
    rows: [
      ...[1041, 1044, 1050].map((id, i) => ({
        ...order,
        key: [String(id)],
        kind: 'update' as const,
        columns: [{ column: 'total_cents', production: `${id}99`, candidate: `${id + 1}00` }],
        at: at(10 + i),
      })),
      {
        ...order,
        key: ['1047'],
        kind: 'update',
        columns: [
          { column: 'status', production: 'paid', candidate: null },
          { column: 'note', production: '<b>leave at the door</b> & "ring"', candidate: '' },
        ],
        at: at(14),
      },
      {
        ...order,
        key: ['9000000001'],
        kind: 'insert',
        columns: [
          { column: 'id', production: null, candidate: '9000000001' },
          { column: 'status', production: null, candidate: 'new' },
          { column: 'total_cents', production: null, candidate: '4200' },
        ],
        at: at(15),
      },
      {
        table: 'public.order_items',
        keyColumns: ['order_id', 'line'],
        key: ['1047', '2'],
        kind: 'delete',
        columns: [{ column: 'sku', production: 'TEA-0042', candidate: null }],
        at: at(15),
      },
    ],
  });
}

const SUBJECT = { kind: 'rollout', name: 'checkout-v2', database: 'shop_checkout_v2' } as const;

const PIN = {
  proof: 'xid-barrier',
  against: 'production',
  snapshot: '745:752:748',
  position: {
    marker: '26913212',
    endOffsets: { 'prod.public.orders/0': '5321', 'prod.public.customers/0': '1200' },
  },
  deferred: 3,
  frozenMs: 412,
} as const;

const equalTable = (table: string, rows: number): DriftReport['tables'][number] => ({
  ...{ table, rows, leaves: Math.ceil(rows / 5_000), state: 'equal' },
  ...{ missing: 0, extra: 0, changed: 0, complete: true, reason: null },
});

export function equalReport(showValues: boolean): DriftReport {
  return {
    version: 1,
    verdict: 'equal',
    reasons: [],
    subject: SUBJECT,
    startedAt: at(38).toISOString(),
    durationMs: 1_840,
    pin: PIN,
    tables: [
      equalTable('public.customers', 1_200),
      equalTable('public.inventory', 800),
      equalTable('public.order_items', 16_023),
      equalTable('public.orders', 5_213),
      equalTable('public.payments', 4_871),
    ],
    differences: [],
    divergence: sampleDivergence(showValues),
  };
}

export function driftReport(): DriftReport {
  const differ = (code: 'rows-differ', message: string, table: string) =>
    ({ code, message, table }) as const;
  const orders = differ('rows-differ', '1 missing, 2 changed', 'public.orders');
  const audit = {
    code: 'table-unreadable',
    message: 'a table could not be read for comparison: SQLSTATE 42501',
    table: 'public.audit_raw',
  } as const;
  return {
    ...equalReport(false),
    verdict: 'drift',
    reasons: [orders, audit],
    subject: { kind: 'trunk', name: 'shop', database: 'shop' },
    tables: [
      equalTable('public.customers', 1_200),
      {
        ...equalTable('public.orders', 5_213),
        ...{ state: 'drift', missing: 1, changed: 2, reason: orders },
      },
      {
        ...{ table: 'public.audit_raw', rows: null, leaves: 0, state: 'not-compared' },
        ...{ missing: 0, extra: 0, changed: 0, complete: false, reason: audit },
      },
    ],
    differences: [
      { table: 'public.orders', key: { id: '17' }, kind: 'changed', columns: [{ name: 'status' }] },
      {
        table: 'public.orders',
        key: { id: '23' },
        kind: 'changed',
        columns: [{ name: 'note', production: 'a ', shadow: 'a' }],
      },
      { table: 'public.orders', key: { id: '99' }, kind: 'missing', columns: [] },
    ],
    divergence: null,
  };
}

export function inconclusiveReport(): DriftReport {
  const message = 'connector shop had committed position 26000000, not 26913212, after 90 s';
  return {
    ...equalReport(false),
    verdict: 'inconclusive',
    reasons: [{ code: 'barrier-timeout', message, table: null }],
    pin: null,
    tables: [],
    divergence: null,
  };
}
