/**
 * What foreign keys do to production's rows where a candidate writes too, and the log does not hold it.
 * The server cannot do it there: what it sees is the candidate's. So it is done step by step on
 * production's image of the rows, which is the row where nobody owns it, the entry's where the
 * candidate does, and else what waits; and each step is written as if it had been in the log (apply-captured.ts).
 */
import type { ParentChange } from '../../../order/change-batch.ts';
import type { Client } from '../session/client.ts';
import type { Flavour } from '../session/flavour.ts';
import { JOURNAL, quote } from '../session/names.ts';
import { isComputed, type Edge } from '../overlay/edges.ts';
import { carried, type Happening } from '../overlay/happening.ts';
import { exactValue } from '../overlay/images.ts';
import type { CapturedTable } from '../overlay/journal.ts';
import { notWaiting } from '../overlay/waiting.ts';
import { writeStaged } from './apply-captured.ts';
import type { OverlaidTable } from './overlaid-table.ts';
import { applyFailure } from './apply-error.ts';
import type { ApplyTable } from './apply-table.ts';
import { areKeys, carryAll, literalOf } from './cascades.ts';

const SAVEPOINT = 'understudy_carried';
/** Tables that one change leads through, at most: as the servers have it. */
const MOST_HOPS = 15;

/** What the session has for it. */
export interface CarryTools {
  readonly client: Client;
  readonly engine: Flavour['engine'];
  /** All foreign keys of the database. */
  readonly edges: readonly Edge[];
  /** By `tableName()`. */
  readonly captured: ReadonlyMap<string, OverlaidTable>;
  /** Where the log stands by then, as text. */
  readonly source: string | null;
  /** Makes the temporary tables that are not there. */
  readonly ensure: (table: ApplyTable) => Promise<void>;
}

/**
 * As `carryOut`, with rows of a captured table. Refused is what the servers refuse: a row that is gone
 * and which another refers to in the end; a reference that leads nowhere then; an update that comes back
 * to a table; and too many steps. A row that the candidate is at has its image all the same, and what becomes
 * of it waits by itself. Errors: as `applyCaptured`.
 */
export function carryOutCaptured(
  tools: CarryTools,
  table: CapturedTable,
  changes: readonly ParentChange[],
): Promise<number> {
  return carryAll(changes, async (some) => {
    try {
      return await new Carrying(tools).carry(table, some);
    } catch (error) {
      throw applyFailure(error, table.label);
    }
  });
}

/** Rows of a table that are reached by one way, and what happens to them. */
interface Reached {
  readonly table: CapturedTable;
  readonly happening: Happening;
  readonly which: 0 | 1;
  readonly hop: number;
  /** The foreign key that leads to them, and what leads to its parent; null for where it begins. */
  readonly by: { readonly edge: Edge; readonly from: Reached } | null;
}

class Carrying {
  readonly #tools: CarryTools;
  readonly #client: Client;
  readonly #all: Reached[] = [];

  constructor(tools: CarryTools) {
    this.#tools = tools;
    this.#client = tools.client;
  }

  /** False if it is refused: then nothing is changed. */
  async carry(table: CapturedTable, changes: readonly ParentChange[]): Promise<boolean> {
    await this.#begin(table);
    await this.#client.run(`SAVEPOINT ${SAVEPOINT}`);
    const done = (await this.#carry(table, changes)) && (await this.#holds());
    await this.#client.run(
      done ? `RELEASE SAVEPOINT ${SAVEPOINT}` : `ROLLBACK TO SAVEPOINT ${SAVEPOINT}`,
    );
    return done;
  }

  /** Empties what may be left of another, of all tables it may lead to. */
  async #begin(table: CapturedTable): Promise<void> {
    const tables = new Map([[table.label, table]]);
    for (const [label] of tables) {
      for (const { parent, child } of this.#tools.edges) {
        if (parent.label === label) tables.set(child.label, child);
      }
    }
    for (const one of tables.values()) {
      await this.#tools.ensure(one);
      for (const reach of one.reach) await this.#client.run(`DELETE FROM ${reach}`);
    }
  }

  async #carry(table: CapturedTable, changes: readonly ParentChange[]): Promise<boolean> {
    const columns = changes.flatMap((change) => (change.kind === 'update' ? change.columns : []));
    const happening: Happening =
      columns.length === 0
        ? { kind: 'deleted' }
        : {
            kind: 'updated',
            values: new Map(columns.map(([name, value]) => [name, literalOf(table, name, value)])),
          };
    const origin: Reached = { table, happening, which: 0, hop: 0, by: null };
    const rows = await this.#collect(origin, {
      from: '',
      visible: {
        relation: `${table.relation} x ${table.keyHint}`,
        on: areKeys(table, changes, 'x'),
      },
      images: (alias) => areKeys(table, changes, alias),
    });
    return rows === 0 || this.#goOn(origin);
  }

  /** Writes what was reached, and follows what leads on from it. */
  async #goOn(reached: Reached): Promise<boolean> {
    await this.#write(reached);
    this.#all.push(reached);
    for (const edge of this.#tools.edges) {
      if (edge.parent.label !== reached.table.label) continue;
      const happening = carried(edge.reference, seen(reached));
      if (happening === null) continue;
      const next: Reached = {
        ...{ table: edge.child, happening, by: { edge, from: reached } },
        ...{ which: reached.which === 0 ? 1 : 0, hop: this.#all.length },
      };
      const rows = await this.#reach(next, edge, reached);
      if (rows === 0) continue;
      if (comesBack(next) || hopsOf(next) > MOST_HOPS || (await this.#lacksValue(next)))
        return false;
      if (!(await this.#goOn(next))) return false;
    }
    return true;
  }

  async #reach(next: Reached, edge: Edge, reached: Reached): Promise<number> {
    const { child, childAccess } = edge;
    const changed = whatChanged(edge, reached);
    return this.#collect(next, {
      from: `${rowsOf(reached)} STRAIGHT_JOIN`,
      visible: {
        relation: `${child.relation} x ${childAccess.hint}`,
        on: `${refers(edge, 'x', reached)} AND ${changed}`,
      },
      images: (alias) => `${refers(edge, alias, reached)} AND ${changed}`,
    });
  }

  /**
   * Rows in production's image. Of tables whose writes are captured only who applies changes it: they need no
   * lock, as long as entries are read after the rows. A row of which one is made meanwhile comes twice, and the
   * same.
   */
  async #collect(
    into: Reached,
    what: {
      readonly from: string;
      readonly visible: { readonly relation: string; readonly on: string };
      readonly images: (alias: 'j' | 'w') => string;
    },
  ): Promise<number> {
    const { from, visible, images } = what;
    const { table, happening, which, hop } = into;
    const insert = (alias: string): string => {
      const before = table.columns.map(({ name }) => `${alias}.${name}`);
      const after = table.columns.map(({ schema, name }) =>
        happening.kind === 'deleted'
          ? 'NULL'
          : (happening.values.get(schema.name) ?? `${alias}.${name}`),
      );
      const targets = [...numbered(table, 'b'), ...numbered(table, 'a')];
      return `INSERT INTO ${table.reach[which]} (hop, ${targets.join(', ')})
        SELECT ${[String(hop), ...before, ...after].join(', ')}`;
    };
    const owned = this.#owned(table);
    if (owned === undefined) {
      const lock = `SELECT COUNT(*) AS locked FROM ${from} ${visible.relation} WHERE ${visible.on} FOR UPDATE`;
      await this.#client.rows(lock);
    }
    let rows = 0;
    for (const { alias, relation, where } of imageParts(table, owned, visible.relation)) {
      const on = alias === 'x' ? visible.on : images(alias);
      rows += (
        await this.#client.run(`${insert(alias)} FROM ${from} ${relation} WHERE ${on} AND ${where}`)
      ).rows;
    }
    return rows;
  }

  #owned({ label }: CapturedTable): OverlaidTable | undefined {
    return this.#tools.captured.get(label);
  }

  async #write(reached: Reached): Promise<void> {
    const { table, happening, by } = reached;
    const owned = this.#owned(table);
    if (owned !== undefined) return this.#writeCaptured(reached, owned);
    if (by === null) return;
    const rows = `${rowsOf(by.from)} STRAIGHT_JOIN ${table.relation} x ${by.edge.childAccess.hint}`;
    const which = `${refers(by.edge, 'x', by.from)} AND ${whatChanged(by.edge, by.from)}`;
    if (happening.kind === 'deleted') {
      await this.#client.run(`DELETE x FROM ${rows} WHERE ${which}`);
      return;
    }
    const set = [...happening.values].map(([name, value]) => `x.${quote(name)} = ${value}`);
    await this.#client.run(`UPDATE ${rows} SET ${set.join(', ')} WHERE ${which}`);
  }

  async #writeCaptured(
    { table, happening, which, hop }: Reached,
    owned: OverlaidTable,
  ): Promise<void> {
    const { stage, columns, key, reach } = table;
    const rows = `FROM ${reach[which]} WHERE hop = ${String(hop)}`;
    const keys = key.map(({ schema }) => numberOf(table, schema.name));
    await this.#client.run(`DELETE FROM ${stage}`);
    const counts = { f: 0, p: 0, q: 0, d: 0 };
    const moves =
      happening.kind === 'updated' && table.schema.key.some((name) => happening.values.has(name));
    if (happening.kind === 'deleted' || moves) {
      const { rows: gone } = await this.#client.run(
        `INSERT IGNORE INTO ${stage} (${key.map(({ staged }) => staged).join(', ')}, seq, op, mask)
          SELECT ${keys.map((n) => `b${n}`).join(', ')}, ROW_NUMBER() OVER (), 'd', 0 ${rows}`,
      );
      counts.d = gone;
    }
    if (happening.kind === 'updated') {
      const { rows: put } = await this.#client.run(
        `REPLACE INTO ${stage} (${columns.map(({ staged }) => staged).join(', ')}, seq, op, mask)
          SELECT ${numbered(table, 'a').join(', ')},
            ${String(counts.d)} + ROW_NUMBER() OVER (), 'f', 0 ${rows}`,
      );
      counts.f = put;
    }
    const { source } = this.#tools;
    await writeStaged(this.#client, owned, { masks: new Map(), counts }, { changes: [], source });
  }

  /** Would a column be NULL that may not be? */
  async #lacksValue({ table, happening, which, hop }: Reached): Promise<boolean> {
    if (happening.kind === 'deleted') return false;
    const needed = table.columns.flatMap(({ schema }) =>
      !schema.nullable && happening.values.has(schema.name)
        ? [`a${numberOf(table, schema.name)} IS NULL`]
        : [],
    );
    if (needed.length === 0) return false;
    return this.#any(
      `${table.reach[which]} WHERE hop = ${String(hop)} AND (${needed.join(' OR ')})`,
    );
  }

  /** Does no foreign key forbid what there is now? */
  async #holds(): Promise<boolean> {
    for (const reached of this.#all) {
      for (const edge of this.#tools.edges) {
        // Of computed values no image is kept; what acts by them is refused where writes are captured.
        if (isComputed(edge)) continue;
        if (edge.parent.label === reached.table.label && (await this.#isMissed(edge, reached))) {
          return false;
        }
        if (edge.child.label === reached.table.label && (await this.#misses(edge, reached))) {
          return false;
        }
      }
    }
    return true;
  }

  /** Does a row refer to what is no more, where nothing is done to such rows? */
  async #isMissed(edge: Edge, reached: Reached): Promise<boolean> {
    const { child, childAccess, reference } = edge;
    const { happening } = reached;
    if (carried(reference, seen(reached)) !== null) return false;
    if (happening.kind === 'updated') {
      if (!reference.referencedColumns.some((name) => happening.values.has(name))) return false;
    }
    const where = (alias: string): string =>
      `${refers(edge, alias, reached)} AND ${whatChanged(edge, reached)}`;
    const rows = `${rowsOf(reached)} STRAIGHT_JOIN`;
    const visible = `${child.relation} x ${childAccess.hint}`;
    for (const part of imageParts(child, this.#owned(child), visible)) {
      const on = `${where(part.alias)} AND ${part.where}`;
      if (await this.#any(`${rows} ${part.relation} WHERE ${on}`)) return true;
    }
    return false;
  }

  /** Does one of these rows refer to what is not there? */
  async #misses(edge: Edge, reached: Reached): Promise<boolean> {
    const { table, happening, by } = reached;
    const { parent, reference, parentAccess } = edge;
    if (happening.kind === 'deleted' || by?.edge === edge) return false;
    const { values: set } = happening;
    const isAsked =
      reference.columns.some((name) => set.has(name)) ||
      // MariaDB writes such a row anew, and then looks where it leads to by all of its foreign keys.
      (this.#tools.engine === 'mariadb' && table.schema.key.some((name) => set.has(name)));
    if (!isAsked) return false;
    const values = reference.columns.map((name) => `y.a${numberOf(table, name)}`);
    const is = (alias: string): string =>
      reference.referencedColumns
        .map((name, i) => `${alias}.${quote(name)} = ${values[i] ?? ''}`)
        .join(' AND ');
    const visible = `${parent.relation} x ${parentAccess.hint}`;
    const nowhere = imageParts(parent, this.#owned(parent), visible)
      .map((part) => {
        const on = `${is(part.alias)} AND ${part.where}`;
        return `NOT EXISTS (SELECT 1 FROM ${part.relation} WHERE ${on})`;
      })
      .join(' AND ');
    const all = values.map((value) => `${value} IS NOT NULL`).join(' AND ');
    return this.#any(`${rowsOf(reached)} WHERE ${ofHop(reached)} AND ${all} AND ${nowhere}`);
  }

  async #any(from: string): Promise<boolean> {
    return (await this.#client.rows(`SELECT 1 AS \`any\` FROM ${from} LIMIT 1`)).length > 0;
  }
}

/** What happens to the rows, as those that refer to them see it. */
function seen({ table, happening }: Reached): Happening {
  if (happening.kind === 'deleted') return happening;
  const values = [...happening.values.keys()].map((name): readonly [string, string] => [
    name,
    `y.a${numberOf(table, name)}`,
  ]);
  return { kind: 'updated', values: new Map(values) };
}

/** An update of a table that one on the way to it updated already. */
function comesBack({ table, happening, by }: Reached): boolean {
  if (happening.kind === 'deleted') return false;
  for (let on = by?.from; on !== undefined; on = on.by?.from) {
    if (on.table.label === table.label && on.happening.kind === 'updated') return true;
  }
  return false;
}

function hopsOf({ by }: Reached): number {
  return by === null ? 0 : 1 + hopsOf(by.from);
}

const rowsOf = ({ table, which }: Reached): string => `${table.reach[which]} y`;
const ofHop = ({ hop }: Reached): string => `y.hop = ${String(hop)}`;

/** The number of a column among those of the table that are written. */
function numberOf(table: CapturedTable, name: string): string {
  return String(table.columns.findIndex(({ schema }) => schema.name === name) + 1);
}

function numbered(table: CapturedTable, side: 'b' | 'a'): readonly string[] {
  return table.columns.map((_, i) => `${side}${String(i + 1)}`);
}

/** That a row referred to one that was reached. */
function refers({ reference }: Edge, alias: string, reached: Reached): string {
  const parts = reference.columns.map((name, i) => {
    const number = numberOf(reached.table, reference.referencedColumns[i] ?? '');
    return `${alias}.${quote(name)} = y.b${number}`;
  });
  return [ofHop(reached), ...parts].join(' AND ');
}

/** That what is referred to is another than before, if only in its spelling. */
function whatChanged({ reference }: Edge, { table, happening }: Reached): string {
  if (happening.kind === 'deleted') return 'TRUE';
  const same = table.columns.flatMap(({ schema }, i) => {
    if (!reference.referencedColumns.includes(schema.name)) return [];
    const n = String(i + 1);
    return [`${exactValue(`y.b${n}`, schema)} <=> ${exactValue(`y.a${n}`, schema)}`];
  });
  return `NOT (${same.join(' AND ')})`;
}

/** Where production's rows are: by the row, then by its entry, and by what waits. */
interface ImagePart {
  readonly alias: 'x' | 'j' | 'w';
  readonly relation: string;
  readonly where: string;
}

/** `owned`: the table, if its writes are captured. */
function imageParts(
  table: CapturedTable,
  owned: OverlaidTable | undefined,
  visible: string,
): readonly ImagePart[] {
  if (owned === undefined) return [{ alias: 'x', relation: visible, where: 'TRUE' }];
  const { journal, waiting } = owned;
  const same = table.key.map(({ name }) => `o.${name} = x.${name}`).join(' AND ');
  const notOwned = `NOT EXISTS (SELECT 1 FROM ${journal} o WHERE ${same})`;
  const isThere = (alias: string): string => `${alias}.${JOURNAL.present} = 1`;
  return [
    { alias: 'x', relation: visible, where: `${notOwned} AND ${notWaiting(owned, 'x')}` },
    {
      ...{ alias: 'j', relation: `${journal} j` },
      where: `${isThere('j')} AND ${notWaiting(owned, 'j')}`,
    },
    { alias: 'w', relation: `${waiting} w`, where: isThere('w') },
  ];
}
