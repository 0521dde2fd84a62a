import type { ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import { isUnderstudyError } from '../../../errors/understudy-error.ts';
import type { SchemaCatalogue, TableSchema } from '../../../schema/table-schema.ts';
import type { CandidateRules } from '../../overlay.ts';
import { describeTable, type ApplyTable } from '../apply/apply-table.ts';
import type { SparedAccount } from '../apply/applier-rights.ts';
import { ensureActing } from './acting-triggers.ts';
import { captureStatements, CREATE_MINE, CREATE_NOTE_TRACE } from './capture-sql.ts';
import { readCatalogue } from '../catalogue/catalogue.ts';
import { readGenerated } from './generated.ts';
import { ensureImages, imageStatements, readImageTables } from './images.ts';
import { CREATE_REGISTRY, journalStatements, readCaptured } from './journal.ts';
import { ensureReadOnly } from './read-only.ts';
import { readComparisons, type Comparisons } from '../catalogue/key-facts.ts';
import { imageId, journalId, OWN_SCHEMA, relation, waitingId } from '../session/names.ts';
import { lowerRoutines } from './routine-rights.ts';
import { moveSequencesAbove } from './sequences-above.ts';
import { viewSchemaStatements, viewStatements, withImagesNow } from './views.ts';
import { readWaitingLabels, waitingStatements } from './waiting.ts';

export interface InstalledOverlay {
  readonly captured: readonly TableId[];
  /** Tables whose rows cannot be told apart: the candidate's writes to them are not captured. */
  readonly notCaptured: readonly TableId[];
  /** Sequences that were too far up to be moved: their values may meet production's. */
  readonly sequencesLeft: readonly string[];
}

/**
 * Installs the overlay in the caller's transaction, on a fresh clone: for each table with a key a
 * journal, capture triggers and views, and all sequences far above production's. The owner is the
 * connected role; the candidate gets no right on any of it. Sets `search_path` for the rest of
 * the transaction. Fails if an overlay is installed. In fallback mode the capture spares the
 * applier's account; in replica mode its session does not fire it.
 *
 * Not captured: writes of a session in replica role, and of one that disables triggers; TRUNCATE
 * of partitions attached later; rows of a table rewritten (ALTER COLUMN TYPE) and changed in one
 * transaction get no base image. A candidate that owns no table can do none of these.
 */
export async function installOverlay(
  client: ClientBase,
  spared: SparedAccount = null,
  rules: CandidateRules = {},
): Promise<InstalledOverlay> {
  await client.query(`SET LOCAL search_path = ''`);
  await client.query(`CREATE SCHEMA IF NOT EXISTS ${OWN_SCHEMA}`);
  await client.query(`REVOKE ALL ON SCHEMA ${OWN_SCHEMA} FROM PUBLIC`);
  await client.query([CREATE_REGISTRY, CREATE_MINE, CREATE_NOTE_TRACE].join(';\n'));
  const { captured, notCaptured } = await captureTables(client, spared, () => true);
  const sequencesLeft = await moveSequencesAbove(client);
  await guardTables(client, spared, rules);
  return { captured, notCaptured, sequencesLeft };
}

/**
 * What rules say of tables by triggers, and what routines may, as they are by now. In the caller's fenced
 * transaction.
 */
export async function guardTables(
  client: ClientBase,
  spared: SparedAccount,
  { readOnly = null, actingTriggers = null }: CandidateRules,
): Promise<void> {
  await ensureReadOnly(client, spared, readOnly);
  await ensureActing(client, spared, actingTriggers);
  await lowerRoutines(client);
}

/**
 * Of these tables, those that keep their own keys get a journal, capture triggers and views, which
 * they must not have yet. Not for partitions whose root has a key. `apart`: tables, by `tableName()`, of which
 * production's image is kept elsewhere (reshapes.ts), with the rows that are set aside.
 */
export async function captureTables(
  client: ClientBase,
  spared: SparedAccount,
  includes: (table: TableId) => boolean,
  apart: ReadonlySet<string> = new Set(),
): Promise<Pick<InstalledOverlay, 'captured' | 'notCaptured'>> {
  const catalogue = await readCatalogue(client);
  const comparisons = await readComparisons(client);
  const generated = await readGenerated(client);
  const statements: string[] = [];
  const views: string[] = [];
  // Of the trunk's rows that are set aside.
  const withImages = await readImageTables(client);
  const captured: TableId[] = [];
  const notCaptured: TableId[] = [];
  const schemas = new Set<string>();
  for (const schema of ownTables(catalogue).filter(({ id }) => includes(id))) {
    const table = describeCaptured(schema, comparisons);
    if (table === null) {
      notCaptured.push(schema.id);
      continue;
    }
    captured.push(schema.id);
    schemas.add(schema.id.schema);
    const partitions = [...catalogue.values()].filter(
      (other) => other.partitionOf !== undefined && tableName(other.partitionOf) === table.label,
    );
    const columns = generated.get(table.label) ?? [];
    const isApart = apart.has(table.label);
    if (isApart) {
      views.push(...viewStatements(table).slice(1));
    } else if (withImages.has(imageId(schema.id).name)) {
      await ensureImages(client, { ...table, journal: null });
    } else statements.push(...imageStatements(table, columns));
    statements.push(
      ...journalStatements(table, columns),
      ...waitingStatements(table, columns),
      ...captureStatements(table, partitions, spared),
    );
    if (!isApart) views.push(...viewStatements(table));
  }
  for (const schema of schemas) statements.push(...viewSchemaStatements(schema));
  await client.query([...statements, ...views].join(';\n'));
  return { captured, notCaptured };
}

/** Tables that keep their own keys: all but partitions whose root has a key. */
function ownTables(catalogue: SchemaCatalogue): readonly TableSchema[] {
  return [...catalogue.values()].filter((table) => {
    if (table.partitionOf === undefined) return !table.partitioned || table.key.length > 0;
    const root = catalogue.get(tableName(table.partitionOf));
    const covered = root !== undefined && root.key.length > 0;
    return !covered && !table.partitioned;
  });
}

function describeCaptured(schema: TableSchema, comparisons: Comparisons): ApplyTable | null {
  if (schema.key.length === 0) return null;
  try {
    return describeTable(schema, comparisons, journalId(schema.id));
  } catch (error) {
    if (isUnderstudyError(error, 'KEY_MISSING')) return null;
    throw error;
  }
}

/** The captured tables of this database, for statements that read; empty without an overlay. */
export async function readCapturedTables(client: ClientBase): Promise<readonly ApplyTable[]> {
  const captured = await readCaptured(client);
  if (captured === null) return [];
  const catalogue = await readCatalogue(client);
  const comparisons = await readComparisons(client);
  const waiting = await readWaitingLabels(client);
  return [...captured].flatMap(([label, journal]) => {
    const schema = catalogue.get(label);
    if (schema === undefined) return [];
    const table = describeTable(schema, comparisons, journal);
    return [waiting.has(label) ? withImagesNow(table, relation(waitingId(schema.id))) : table];
  });
}
