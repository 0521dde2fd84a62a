/** `understudy repair`: which databases, and who carries it out. */
import { tableName, type TableId } from '../change/table-id.ts';
import type { RepairProgress } from '../drift/repair.ts';
import { findRollout } from '../rollout/lifecycle.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import type { RuntimeContext } from './context.ts';
import { repairTable, type RepairOutcome } from './repair-act.ts';
import { perform, withStage } from './requests.ts';

export interface RepairRequest {
  readonly table: TableId;
  /** Values of the key's columns in order, of one row or of several; null is the whole table. */
  readonly key: readonly string[] | null;
  /** Only this rollout; null is the trunk and all rollouts. */
  readonly rollout: string | null;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly onProgress?: (database: string, progress: RepairProgress) => void;
}

export interface RepairedDatabase extends RepairOutcome {
  readonly name: string;
  readonly kind: 'trunk' | 'rollout';
  readonly database: string;
  readonly durationMs: number;
}

export interface RepairSummary {
  readonly table: string;
  readonly databases: readonly RepairedDatabase[];
}

/**
 * Repairs one database after the other: by this process if nobody holds it (then with progress),
 * else by its holder. Errors: see drift/repair.ts; ROLLOUT_NOT_FOUND, CONFIG_INVALID.
 */
export async function runRepair(
  context: RuntimeContext,
  request: RepairRequest,
): Promise<RepairSummary> {
  await context.assertIsolated();
  const databases: RepairedDatabase[] = [];
  for (const target of await targetsOf(context, request.rollout)) {
    const started = performance.now();
    const result = await repairOne(context, request, target.database).catch((error: unknown) => {
      throw naming(target.database, error);
    });
    const durationMs = Math.round(performance.now() - started);
    databases.push({ ...target, ...result, durationMs });
  }
  return { table: tableName(request.table), databases };
}

async function targetsOf(
  context: RuntimeContext,
  rollout: string | null,
): Promise<readonly Pick<RepairedDatabase, 'name' | 'kind' | 'database'>[]> {
  const control = await context.existingControl();
  if (rollout !== null) {
    if (control === null) {
      throw new UnderstudyError('ROLLOUT_NOT_FOUND', `there is no rollout '${rollout}'`);
    }
    const { database } = await findRollout(control, rollout);
    return [{ name: rollout, kind: 'rollout', database }];
  }
  const { name } = context.config.trunk;
  const rows = (await control?.rollouts()) ?? [];
  // One that could not go on may fail here as well: it comes last.
  const rollouts = (['following', 'failed'] as const).flatMap((state) =>
    rows.filter((row) => row.state === state),
  );
  return [
    { name, kind: 'trunk', database: name },
    ...rollouts.map((row) => ({
      ...{ name: row.name, kind: 'rollout' as const, database: row.database },
    })),
  ];
}

/** Of several databases that were asked for, it must say which one it is. */
function naming(database: string, error: unknown): unknown {
  if (!isUnderstudyError(error) || error.context.database !== undefined) return error;
  return new UnderstudyError(error.code, error.message, { ...error.context, database }, error);
}

async function repairOne(
  context: RuntimeContext,
  request: RepairRequest,
  database: string,
): Promise<RepairOutcome> {
  const { table, timeoutMs, signal, onProgress } = request;
  const args = { table, key: request.key === null ? null : [...request.key], timeoutMs };
  const watcher = {
    signal,
    onProgress: (progress: RepairProgress) => onProgress?.(database, progress),
  };
  const own = await withStage(context, database, (stage) => repairTable(stage, args, watcher));
  if (own !== null) return own.value;
  const hours = 24 * 3_600_000;
  return (await perform(context, {
    ...{ kind: 'repair', database, args, signal, timeoutMs: timeoutMs + hours },
  })) as RepairOutcome;
}
