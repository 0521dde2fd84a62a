/**
 * Follows production's schema where that loses nothing: a column that records have and the trunk
 * lacks is added as production has it, and following begins again at the record that needed it.
 */
import { columnSourceOf, columnTargetOf } from '../dialect/evolving.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import { unreachable } from '../util/assert.ts';
import { backoffMs, sleep } from '../util/wait.ts';
import type { Stage } from './stage.ts';

/** Runs `follow`, and again after each change of the schema that it stopped for. */
export async function followEvolving<T>(stage: Stage, follow: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await follow();
    } catch (error) {
      if (!(await addLackingColumn(stage, error))) throw error;
      await stage.stopFollowing();
    }
  }
}

/**
 * Adds the column that `error` is about. False if it is about none, or the configuration or the
 * engine does not let it. Errors: COLUMN_UNKNOWN with the reason it cannot be added, those of
 * ColumnSource and ColumnTarget.
 */
async function addLackingColumn(stage: Stage, error: unknown): Promise<boolean> {
  const { context, database } = stage;
  if (!isUnderstudyError(error, 'COLUMN_UNKNOWN')) return false;
  // A rollout's tables are the candidate's too: it may have made the column itself, and differently.
  if (context.config.evolution.add !== 'apply' || database.marker.kind !== 'trunk') return false;
  const { table: label, column } = error.context;
  if (label === undefined || column === undefined) return false;
  const table = (await database.catalogue()).get(label);
  // What is there is not lacking: then its name is in doubt.
  if (table === undefined || table.columns.some(({ name }) => name === column)) return false;
  const production = await context.production();
  const source = production === null ? null : columnSourceOf(production);
  const target = columnTargetOf(database);
  if (source === null || target === null) return false;
  const finding = await source.column(table.partitionOf ?? table.id, column);
  switch (finding.kind) {
    case 'absent':
      throw refused(error, 'production has it no more under this name');
    case 'untold':
      throw refused(error, `its values are not known: ${finding.why}`);
    case 'addable':
      break;
    default:
      unreachable(finding);
  }
  await whenFree(stage, () => target.addColumn(stage.holder.fence, finding.statements));
  const where = { table: label, column };
  context.logger.info('added a column that production has', { database: database.name, ...where });
  const control = await context.control();
  await control.audit(context.holder, 'column add', database.name, where);
  return true;
}

function refused(error: UnderstudyError, detail: string): UnderstudyError {
  return new UnderstudyError(error.code, error.message, { ...error.context, detail }, error);
}

/** Who reads the table locks it, mostly for moments. */
async function whenFree(stage: Stage, act: () => Promise<void>): Promise<void> {
  const deadline = performance.now() + stage.giveUpAfterMs;
  const signal = AbortSignal.any([stage.stopping, stage.holder.lost]);
  for (let attempt = 0; ; attempt += 1) {
    try {
      await act();
      return;
    } catch (error) {
      if (!isUnderstudyError(error, 'APPLY_BLOCKED') || performance.now() > deadline) throw error;
      await sleep(backoffMs(attempt, 50, 2_000), signal);
    }
  }
}
