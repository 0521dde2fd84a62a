/** Findings of `doctor` about a MySQL or MariaDB production: what keeps changes from arriving whole. */
import type { Diagnosis } from '../../dialect.ts';
import type { Client } from '../session/client.ts';
import { isRefusal } from '../session/errors.ts';
import { readFlavour, type Flavour } from '../session/flavour.ts';
import { diagnosePinRights } from './production-diagnosis-rights.ts';
import { diagnoseTables, type DiagnosedTables } from './production-diagnosis-tables.ts';

type Settings = ReadonlyMap<string, string>;

const NAMES = [
  ...['log_bin', 'binlog_format', 'binlog_row_image', 'binlog_row_value_options'],
  ...['gtid_mode', 'gtid_strict_mode', 'server_id', 'read_only', 'binlog_expire_logs_seconds'],
  ...['expire_logs_days', 'log_bin_compress', 'binlog_transaction_compression'],
];
/** Shorter than a weekend: a connector that stopped on Friday loses its place. */
const SHORTEST_BINLOG_S = 3 * 86_400;

export async function diagnoseProduction(
  client: Client,
  what: DiagnosedTables,
): Promise<readonly Diagnosis[]> {
  const flavour = await readFlavour(client);
  const settings = await readSettings(client);
  return [
    { id: 'production.version', level: 'ok', message: nameOf(flavour), cure: null },
    ...binlog(settings),
    gtid(settings, flavour),
    expiry(settings),
    ...(await preparedTransactions(client)),
    ...(await filters(client, flavour)),
    await diagnosePinRights(client, flavour, what.database),
    ...(await diagnoseTables(client, flavour, what)),
  ];
}

function nameOf({ engine, version }: Flavour): string {
  return `${engine === 'mysql' ? 'MySQL' : 'MariaDB'} ${version}`;
}

async function readSettings(client: Client): Promise<Settings> {
  const rows = await client.rows<{ Variable_name: string; Value: string }>(
    `SHOW GLOBAL VARIABLES WHERE Variable_name IN (${NAMES.map((name) => `'${name}'`).join(', ')})`,
  );
  return new Map(rows.map((row) => [row.Variable_name.toLowerCase(), row.Value]));
}

function ok(id: string, message: string): Diagnosis {
  return { id, level: 'ok', message, cure: null };
}

function binlog(settings: Settings): readonly Diagnosis[] {
  const value = (name: string): string => settings.get(name) ?? '';
  if (value('log_bin').toUpperCase() !== 'ON') {
    return [
      {
        id: 'production.log-bin',
        level: 'error',
        message: 'the server writes no binlog, so that no connector can follow it',
        cure: 'Start it with --log-bin and a server_id above 0.',
      },
    ];
  }
  const found: Diagnosis[] = [];
  if (value('binlog_format').toUpperCase() !== 'ROW') {
    found.push({
      id: 'production.binlog-format',
      level: 'error',
      message: `binlog_format is ${value('binlog_format')}: changes arrive as statements, which no event can hold`,
      cure: 'SET GLOBAL binlog_format = ROW, in the configuration too, and let sessions reconnect.',
    });
  }
  if (value('binlog_row_image').toUpperCase() !== 'FULL') {
    found.push({
      id: 'production.row-image',
      level: 'error',
      message: `binlog_row_image is ${value('binlog_row_image')}: rows arrive in part and stop the connector`,
      cure: 'SET GLOBAL binlog_row_image = FULL, in the configuration too; no session may lower it.',
    });
  }
  if (value('binlog_row_value_options') !== '') {
    found.push({
      id: 'production.partial-json',
      level: 'error',
      message: 'binlog_row_value_options is PARTIAL_JSON: such updates vanish without a word',
      cure: `SET GLOBAL binlog_row_value_options = '', in the configuration too.`,
    });
  }
  if (value('log_bin_compress').toUpperCase() === 'ON') {
    found.push({
      id: 'production.compressed-events',
      level: 'error',
      message: 'log_bin_compress is ON: the connector passes over compressed rows without a word',
      cure: 'SET GLOBAL log_bin_compress = OFF, in the configuration too.',
    });
  }
  if (value('binlog_transaction_compression').toUpperCase() === 'ON') {
    found.push({
      id: 'production.compressed-transactions',
      level: 'warning',
      message:
        'binlog_transaction_compression is ON: all changes of a transaction have one place, by which second deliveries are not always known when a connector is restarted inside it',
      cure: 'SET GLOBAL binlog_transaction_compression = OFF, in the configuration too, and let sessions reconnect.',
    });
  }
  if (value('server_id') === '0') {
    found.push({
      id: 'production.server-id',
      level: 'error',
      message: 'server_id is 0, so that the server refuses those who read its binlog',
      cure: 'SET GLOBAL server_id to a number of its own, in the configuration too.',
    });
  }
  if (found.length > 0) return found;
  return [ok('production.binlog', 'the binlog holds whole rows')];
}

function gtid(settings: Settings, { engine }: Flavour): Diagnosis {
  const name = engine === 'mysql' ? 'gtid_mode' : 'gtid_strict_mode';
  const value = settings.get(name) ?? 'OFF';
  if (value.toUpperCase() === 'ON') return ok('production.gtid', `${name} is ON`);
  return {
    id: 'production.gtid',
    level: 'warning',
    message: `${name} is ${value}: after a fail-over the connector cannot find its place`,
    cure:
      engine === 'mysql'
        ? 'Set enforce_gtid_consistency and gtid_mode to ON, step by step as the manual says.'
        : 'SET GLOBAL gtid_strict_mode = ON, in the configuration too.',
  };
}

function expiry(settings: Settings): Diagnosis {
  const inSeconds = settings.get('binlog_expire_logs_seconds');
  const inDays = Number(settings.get('expire_logs_days') ?? 0) * 86_400;
  const seconds = inSeconds === undefined || inSeconds === '0' ? inDays : Number(inSeconds);
  if (seconds === 0) return ok('production.binlog-expiry', 'binlogs are kept until purged');
  const hours = Math.floor(seconds / 3600);
  if (seconds >= SHORTEST_BINLOG_S) {
    return ok('production.binlog-expiry', `binlogs are kept for ${String(hours)} hours`);
  }
  return {
    id: 'production.binlog-expiry',
    level: 'warning',
    message: `binlogs are kept for ${String(hours)} hours only: a connector that stops for longer must begin anew`,
    cure: 'SET GLOBAL binlog_expire_logs_seconds to at least 259200 (three days).',
  };
}

/** Their rows are emitted at PREPARE, and stay in the log when they are rolled back. */
async function preparedTransactions(client: Client): Promise<readonly Diagnosis[]> {
  const status = await client.rows<{ Variable_name: string; Value: string }>(
    `SHOW GLOBAL STATUS LIKE 'Com_xa_prepare'`,
  );
  const prepared = Number(status[0]?.Value ?? 0);
  if (prepared === 0) return [ok('production.xa', 'no XA transaction since the server started')];
  return [
    {
      id: 'production.xa',
      level: 'warning',
      message: `XA transactions are in use (${String(prepared)} prepared since the server started): one that is rolled back is emitted as if it were not`,
      cure: 'Do without XA on tables that are followed; make the shadow anew after a rollback of one.',
    },
  ];
}

/**
 * Whole databases that the server does not log. Told only to whoever may ask for the binlog's
 * position.
 */
async function filters(client: Client, flavour: Flavour): Promise<readonly Diagnosis[]> {
  interface Status {
    readonly Binlog_Do_DB: string;
    readonly Binlog_Ignore_DB: string;
  }
  let status: readonly Status[];
  try {
    status = await client.rows<Status>(
      flavour.engine === 'mysql' ? 'SHOW BINARY LOG STATUS' : 'SHOW MASTER STATUS',
    );
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return [
      {
        id: 'production.replication-client',
        level: 'warning',
        message:
          'the account of production.url may not ask which databases the binlog leaves out, so nobody did',
        cure: 'GRANT REPLICATION CLIENT ON *.* TO it (MariaDB: BINLOG MONITOR).',
      },
    ];
  }
  const found = status.flatMap((row) => [
    ...(row.Binlog_Do_DB === '' ? [] : [`binlog-do-db=${row.Binlog_Do_DB}`]),
    ...(row.Binlog_Ignore_DB === '' ? [] : [`binlog-ignore-db=${row.Binlog_Ignore_DB}`]),
  ]);
  if (found.length === 0) return [];
  return [
    {
      id: 'production.binlog-filter',
      level: 'error',
      message: `the server leaves changes out of its binlog, by the database in use, not by the table’s: ${found.join(', ')}`,
      cure: 'Start it without these options; let replicas filter for themselves.',
    },
  ];
}
