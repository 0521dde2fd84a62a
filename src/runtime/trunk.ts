import { readFile } from 'node:fs/promises';
import type { ShadowDatabase } from '../dialect/dialect.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import { planFromFile } from '../schema/plan-from-file.ts';
import type { ShadowPlan } from '../schema/shadow-plan.ts';
import { copySource } from './bootstrap-trunk.ts';
import type { RuntimeContext } from './context.ts';
import { collectEventSchemas } from './event-schemas.ts';
import { Stage } from './stage.ts';

export interface TrunkReport {
  readonly created: boolean;
  /** What exists in production but not in the shadow, with the reason. */
  readonly notCarried: readonly { readonly what: string; readonly why: string }[];
}

/**
 * The trunk, made if it does not exist: isolation guard, plan by `trunk.schema`, database,
 * marker. Errors: TARGET_IS_PRODUCTION, TARGET_NOT_OURS, CONFIG_INVALID, SCHEMA_FAILED.
 */
export async function ensureTrunk(
  context: RuntimeContext,
): Promise<{ readonly database: ShadowDatabase; readonly report: TrunkReport }> {
  await context.assertIsolated();
  const { name } = context.config.trunk;
  const found = await openTrunk(context);
  if (found !== null) {
    return { database: found, report: { created: false, notCarried: [] } };
  }
  const bootstrap = context.config.trunk.bootstrap === 'production';
  const restored = context.config.trunk.bootstrap === 'backup';
  // Before anything is made that could not be filled.
  if (bootstrap || restored) await copySource(context);
  const plan = await planTrunk(context);
  const made = await context.server.createTrunk({
    name,
    topicPrefix: context.config.source.topicPrefix,
    plan,
    bootstrap,
    restored,
  });
  const control = await context.control();
  await control.audit(context.holder, 'trunk create', name, { tables: plan.tables.length });
  const database = await context.server.open(name);
  if (database === null) {
    throw new UnderstudyError('TRUNK_NOT_FOUND', 'the trunk is gone again', { database: name });
  }
  const why = restored ? 'it does not act in a trunk' : 'the shadow server refused it';
  const skipped = made.skipped.map((what) => ({ what, why }));
  const notCarried = [...plan.notCarried, ...skipped];
  for (const item of notCarried) context.logger.info('not carried into the shadow', { ...item });
  return { database, report: { created: true, notCarried } };
}

/** Null if there is none; so it is where a backup waits to become it. */
async function openTrunk(context: RuntimeContext): Promise<ShadowDatabase | null> {
  const { name, bootstrap } = context.config.trunk;
  try {
    return await context.server.open(name);
  } catch (error) {
    if (bootstrap === 'backup' && isUnderstudyError(error, 'TARGET_NOT_OURS')) return null;
    throw error;
  }
}

/**
 * Drops the trunk, if there is one: for one that cannot be followed any more. Rollouts stay as they
 * are. FENCE_HELD while anybody follows it.
 */
export async function dropTrunk(context: RuntimeContext): Promise<void> {
  await context.assertIsolated();
  const { name, bootstrap } = context.config.trunk;
  if (bootstrap === 'backup') {
    throw new UnderstudyError('CONFIG_INVALID', 'trunk.bootstrap is backup', {
      detail: 'drop the trunk’s database yourself, and restore a newer backup into it',
    });
  }
  const found = await context.server.open(name);
  if (found === null) return;
  const stage = await Stage.take(context, found, { giveUpAfterMs: 0 });
  if (stage === null) {
    await found[Symbol.asyncDispose]();
    throw new UnderstudyError('FENCE_HELD', 'the trunk is followed', { database: name });
  }
  await stage.close();
  const control = await context.control();
  await control.audit(context.holder, 'trunk drop', name, {});
  await context.server.drop({ database: name, role: null });
}

async function planTrunk(context: RuntimeContext): Promise<ShadowPlan> {
  const { schema } = context.config.trunk;
  if (schema === 'production') {
    const production = await context.production();
    if (production === null) {
      throw new UnderstudyError(
        'CONFIG_INVALID',
        'trunk.schema is `production`, but production.url is not set',
        { detail: 'set it, or use trunk.schema: events or an SQL file' },
      );
    }
    return production.planShadow(context.includes);
  }
  if (schema === 'events') {
    return context.dialect.planFromEvents(await collectEventSchemas(context));
  }
  let text: string;
  try {
    text = await readFile(schema, 'utf8');
  } catch (error) {
    throw new UnderstudyError('CONFIG_INVALID', `trunk.schema: cannot read ${schema}`, {}, error);
  }
  return planFromFile(text);
}
