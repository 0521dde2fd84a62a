/**
 * Carries out `trunk.bootstrap: production`: whoever holds a trunk that is to be filled by a copy
 * fills it before it is followed; or takes over what a person restored into it.
 */
import {
  bootstrap as fill,
  DEFAULT_BOOTSTRAP,
  type BootstrapOptions,
  type BootstrapParts,
} from '../bootstrap/bootstrap.ts';
import type { BootstrapProgress } from '../bootstrap/copy-meter.ts';
import {
  BACKUP_MARK,
  copySourceOf,
  copyTargetOf,
  type CopySource,
  type CopyTarget,
} from '../dialect/copying.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import { takeOverBackup } from './adopt-backup.ts';
import type { RuntimeContext } from './context.ts';
import { assertFollowed } from './followed-server.ts';
import { openCommittedOffsets } from './sources.ts';
import type { Stage } from './stage.ts';

/** How often the log tells how far the copy is. */
const LOG_EVERY_MS = 10_000;

/** Production to copy from; `what` needs it. CONFIG_INVALID, UNSUPPORTED if this configuration has none. */
export async function copySource(
  context: RuntimeContext,
  what = `trunk.bootstrap: ${context.config.trunk.bootstrap}`,
): Promise<CopySource> {
  const { connect, kafka, offsetsTopic } = context.config.source;
  const production = await context.production();
  if (production === null || kafka === undefined) {
    const lacking = production === null ? 'production.url' : 'source.kafka';
    throw new UnderstudyError('CONFIG_INVALID', `${what} needs ${lacking}`);
  }
  if (connect === undefined && offsetsTopic === undefined) {
    throw new UnderstudyError(
      'CONFIG_INVALID',
      `${what} needs source.connect or source.offsetsTopic`,
      { detail: 'they tell when the connector has passed what the trunk holds' },
    );
  }
  const source = copySourceOf(production);
  if (source !== null) return source;
  throw new UnderstudyError('UNSUPPORTED', 'this engine’s tables cannot be copied', {
    detail: 'use trunk.bootstrap: events',
  });
}

export interface FillOptions {
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: BootstrapProgress) => void;
}

/** Fills the stage's trunk if that is not done yet. Errors: see bootstrap/bootstrap.ts. */
export async function bootstrapTrunk(stage: Stage, options: FillOptions): Promise<void> {
  const { context, database, holder } = stage;
  const target = copyTargetOf(database);
  const state = (await target?.state()) ?? null;
  if (target === null || state === null || state.ends !== null) return;
  const production = await copySource(context, 'a trunk that is to be filled');
  if (state.mark === BACKUP_MARK) {
    const signal = AbortSignal.any([options.signal, holder.lost, stage.stopping]);
    await takeOverBackup(stage, { target, production, signal });
    return;
  }
  await withCopy(stage, { target, production }, options, fill);
}

/** Runs `act` with all that a copy needs, and tells how far it is. PRODUCTION_NOT_FOLLOWED. */
export async function withCopy(
  stage: Stage,
  sides: { readonly target: CopyTarget; readonly production: CopySource },
  options: FillOptions,
  act: (parts: BootstrapParts, options: BootstrapOptions) => Promise<void>,
): Promise<void> {
  const { context, database, holder } = stage;
  const logger = context.logger.child({ database: database.name });
  await using source = await context.openSource();
  await using offsets = await openCommittedOffsets(context.config, context.logger);
  if (offsets.reader === null) throw new UnderstudyError('INTERNAL', 'no committed offsets');
  const server = await context.production();
  if (server !== null) await assertFollowed(context, server, offsets.reader);
  let toldAt = -Infinity;
  let note = 'bootstrapping';
  holder.describe(() => ({ state: note, oldestTransactionMs: null, degraded: 0 }));
  await act(
    {
      ...{ ...sides, fence: holder.fence, source, offsets: offsets.reader },
      ...{ catalogue: await database.catalogue(), includes: context.includes, logger },
    },
    {
      ...DEFAULT_BOOTSTRAP,
      jobs: context.config.trunk.bootstrapJobs,
      signal: AbortSignal.any([options.signal, holder.lost, stage.stopping]),
      onProgress: (progress) => {
        note = `bootstrapping: ${progress.phase}`;
        options.onProgress?.(progress);
        if (performance.now() - toldAt < LOG_EVERY_MS) return;
        toldAt = performance.now();
        logger.info('bootstrapping', { ...progress });
      },
    },
  );
}
