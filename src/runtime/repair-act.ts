/** Repairs of a database that this process holds. */
import { z } from 'zod';
import { tableName, type TableId } from '../change/table-id.ts';
import type { BaseReader } from '../dialect/dialect.ts';
import { DEFAULT_LIMITS } from '../drift/compare.ts';
import { columnNames } from '../drift/reference.ts';
import { repair, type RepairProgress, type RepairResult } from '../drift/repair.ts';
import { repairable } from '../drift/repaired-table.ts';
import { LOSSES } from '../decode/losses/losses.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { SchemaCatalogue, TableSchema } from '../schema/table-schema.ts';
import { DEFAULT_TIMING } from '../source/barrier.ts';
import { assertBootstrapped } from './bootstrap-state.ts';
import { controlOf } from './control.ts';
import { assertFollowed } from './followed-server.ts';
import { readLossy } from './lossy.ts';
import { openCommittedOffsets } from './sources.ts';
import type { Stage } from './stage.ts';

const repairArgs = z.strictObject({
  table: z.strictObject({ schema: z.string(), name: z.string() }),
  /** Values of the key's columns in order, of one row or of several; null is the whole table. */
  key: z.array(z.string()).min(1).nullable(),
  /** How long the connector may take to reach a marker. */
  timeoutMs: z.int().min(1),
});

export type RepairArgs = z.infer<typeof repairArgs>;

export interface RepairOutcome extends RepairResult {
  /** Columns that the connector's lists leave out: they stay as they are. */
  readonly leftOut: readonly string[];
}

export interface RepairWatcher {
  readonly onProgress?: (progress: RepairProgress) => void;
  /** Gives up; what was repaired stays so. */
  readonly signal?: AbortSignal;
}

const LOG_EVERY_MS = 5_000;

/** The act behind `repair`: its outcome is a RepairOutcome. */
export async function repairAct(stage: Stage, args: unknown): Promise<unknown> {
  const parsed = repairArgs.safeParse(args);
  if (!parsed.success) throw new UnderstudyError('USAGE', 'the repair request is malformed');
  const { logger } = stage.context;
  let toldAt = performance.now();
  return repairTable(stage, parsed.data, {
    onProgress: (progress) => {
      if (performance.now() - toldAt < LOG_EVERY_MS) return;
      toldAt = performance.now();
      logger.info('repairing', { table: tableName(parsed.data.table), ...progress });
    },
  });
}

/** Repairs, and notes it in the audit log. Errors: see drift/repair.ts; CONFIG_INVALID. */
export async function repairTable(
  stage: Stage,
  args: RepairArgs,
  watcher: RepairWatcher,
): Promise<RepairOutcome> {
  const { context, database, holder } = stage;
  await assertBootstrapped(database);
  const production = await context.production();
  if (production === null) {
    throw new UnderstudyError('CONFIG_INVALID', 'a repair needs production.url');
  }
  const { table } = args;
  if (!context.includes(table)) {
    throw new UnderstudyError('TABLE_NOT_FOLLOWED', 'the table is excluded', {
      table: tableName(table),
    });
  }
  // Asked before anything stands still, and where drift checks are not offered, refused like them.
  const catalogue = await database.catalogue();
  const keys = await withBase(stage, async (base) => {
    const schema = repairable(catalogue, table);
    return args.key === null ? null : await readKeys(base, schema, args.key);
  });
  await using offsets = await openCommittedOffsets(context.config, context.logger);
  if (offsets.reader === null) {
    throw new UnderstudyError(
      'CONFIG_INVALID',
      'a repair needs source.connect or source.offsetsTopic',
    );
  }
  await assertFollowed(context, production, offsets.reader);
  const leftOut = await unsentColumns(stage, catalogue, table);
  const { follower, source } = await stage.running();
  const repaired = await repair(
    {
      ...{ follower: controlOf(stage, follower), source, production, offsets: offsets.reader },
      openBase: () => database.openBaseSnapshot(),
      catalogue: () => database.catalogue(),
    },
    {
      ...{ table, keys, leftOut: new Set(leftOut), leafRows: DEFAULT_LIMITS.leafRows },
      timing: { ...DEFAULT_TIMING, timeoutMs: args.timeoutMs },
      ...(watcher.onProgress !== undefined && { onProgress: watcher.onProgress }),
      signal: AbortSignal.any([
        holder.lost,
        stage.stopping,
        ...(watcher.signal === undefined ? [] : [watcher.signal]),
      ]),
    },
  );
  const outcome = { ...repaired, leftOut };
  const control = await context.control();
  await control.audit(context.holder, 'repair', database.name, {
    ...{ table: tableName(table), ...outcome },
  });
  return outcome;
}

/**
 * What the log will never tell of is not made right once, to be wrong at the next change; and it may
 * have been left out so that it does not come here.
 */
async function unsentColumns(
  stage: Stage,
  catalogue: SchemaCatalogue,
  table: TableId,
): Promise<readonly string[]> {
  const { setting } = LOSSES['column-excluded'];
  const lossy = await readLossy(stage.context, catalogue);
  return lossy
    .filter((one) => one.setting === setting && one.table === tableName(table))
    .map(({ column }) => column);
}

async function withBase<T>(stage: Stage, act: (base: BaseReader) => Promise<T>): Promise<T> {
  await using base = await stage.database.openBaseSnapshot();
  return await act(base);
}

/** KEY_MALFORMED, with the form that is expected. */
async function readKeys(
  base: BaseReader,
  schema: TableSchema,
  values: readonly string[],
): Promise<readonly (readonly string[])[]> {
  const { key } = schema;
  const compared = { table: schema.id, key, columns: columnNames(schema) };
  const keys: (readonly string[])[] = [];
  for (let i = 0; i < values.length; i += key.length) {
    const words = values.slice(i, i + key.length);
    const spelled = words.length === key.length ? await base.spellKey(compared, words) : null;
    if (spelled === null) throw malformed(schema);
    keys.push(spelled);
  }
  return keys;
}

function malformed(schema: TableSchema): UnderstudyError {
  const shape = schema.key.map((name) => {
    const type = schema.columns.find((column) => column.name === name)?.type.sql ?? '';
    return `<${name} ${type}>`;
  });
  return new UnderstudyError('KEY_MALFORMED', 'the values of --key are no keys of the table', {
    table: tableName(schema.id),
    detail: `expected for each row --key ${shape.join(' ')}`,
  });
}
