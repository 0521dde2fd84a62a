/** The parts of the HTML report that judge the candidate: what did its writes change? */
import { unreachable } from '../util/assert.ts';
import type { Divergence, DivergenceGroup, DivergenceRow, DivergenceTable } from './divergence.ts';
import { valueChange } from './html-replication.ts';
import { html, NONE, type Html } from './html-template.ts';
import { countOf, countText, keyText, percentText, timeText } from './words.ts';

/** Rows shown per table; the JSON form has all that were listed. */
const MAX_ROWS = 200;

export function divergenceSection(divergence: Divergence | null): Html {
  if (divergence === null) return NONE;
  return html`<section aria-labelledby="divergence">
    <h2 id="divergence">What the candidate changed</h2>
    <p class="lead">
      Rows the candidate wrote, against production’s version of the same rows. This judges the
      candidate, not the copy.
    </p>
    ${divergence.rows === 0 ? nothing(divergence) : [groups(divergence), tables(divergence.tables), rowCards(divergence)]}
  </section>`;
}

function nothing(divergence: Divergence): Html {
  const written = divergence.tables.reduce((sum, table) => sum + table.equal, 0);
  const note =
    written === 0
      ? 'It has written no row.'
      : `It wrote ${countOf(written, 'row')}, each of which ended up as production’s.`;
  return html`<div class="card">
    <div class="group">
      <span class="count">0</span> <span class="what"><h3>No row differs</h3></span
      ><span class="such">${note}</span>
    </div>
  </div>`;
}

function groups(divergence: Divergence): Html {
  const partial = divergence.complete
    ? NONE
    : html`<p class="reason" style="padding:10px 18px;border-top:1px solid var(--line)">
        Grouped are the ${countText(divergence.findings.length)} oldest of
        ${countText(divergence.rows)} rows.
      </p>`;
  return html`<div class="card">${divergence.groups.map(groupBlock)}${partial}</div>`;
}

function groupBlock(group: DivergenceGroup): Html {
  const columns = group.columns.map((column) => html`<span class="chip">${column}</span>`);
  const examples = group.examples.slice(0, 3).map(keyText).join(' · ');
  const period =
    group.first === group.last
      ? timeText(group.first)
      : `${timeText(group.first)} to ${timeText(group.last)}`;
  return html`<div class="group">
    <span class="count">${countText(group.count)}</span>
    <span class="what"
      ><h3><code>${group.table}</code></h3>
      <span class="badge ${group.kind}">${kindWord(group.kind)}</span> ${columns}</span
    >
    <span class="such">for example <code>${examples}</code> · ${period}</span>
  </div>`;
}

function kindWord(kind: DivergenceGroup['kind']): string {
  switch (kind) {
    case 'insert':
      return 'added by the candidate';
    case 'update':
      return 'changed';
    case 'delete':
      return 'removed by the candidate';
    case 'blocked':
      return 'of production’s, kept out by the candidate';
    case 'pair':
      return 'added by both, with other values';
    default:
      return unreachable(kind);
  }
}

function tables(all: readonly DivergenceTable[]): Html {
  const isPaired = all.some(({ pairs, paired }) => pairs + paired > 0);
  return html`<div class="card scroll">
    <table>
      <thead>
        <tr>
          <th scope="col">Table</th>
          <th scope="col" class="n">Added</th>
          <th scope="col" class="n">Changed</th>
          <th scope="col" class="n">Removed</th>
          <th scope="col" class="n">Kept out</th>
          ${isPaired ? html`<th scope="col" class="n">Pairs differ</th>` : NONE}
          ${isPaired ? html`<th scope="col" class="n">Pairs equal</th>` : NONE}
          <th scope="col" class="n">${isPaired ? 'Equal again' : 'Written, equal again'}</th>
          <th scope="col" class="n">Rows</th>
          <th scope="col">Share that differs</th>
        </tr>
      </thead>
      <tbody>
        ${all.map((table) => tableRow(table, isPaired))}
      </tbody>
    </table>
  </div>`;
}

function tableRow(table: DivergenceTable, isPaired: boolean): Html {
  const number = (count: number): Html =>
    html`<td class="n ${count === 0 ? 'zero' : ''}">${countText(count)}</td>`;
  const width = table.ratio === 0 ? 0 : Math.max(2, Math.min(100, table.ratio * 100));
  return html`<tr>
    <th scope="row"><code>${table.table}</code></th>
    ${number(table.inserted)}${number(table.updated)}${number(table.deleted)}
    ${number(table.blocked)}
    ${isPaired ? html`${number(table.pairs)}${number(table.paired)}` : NONE} ${number(table.equal)}
    <td class="n">${countText(table.rows)}</td>
    <td>
      ${percentText(table.ratio)}<span class="bar" aria-hidden="true"
        ><i style="width:${width.toFixed(1)}%"></i
      ></span>
    </td>
  </tr>`;
}

function rowCards(divergence: Divergence): Html {
  const byTable = Map.groupBy(divergence.findings, (row) => row.table);
  const cards = [...byTable].map(([table, rows]) => rowCard(table, rows));
  return html`${cards}`;
}

function rowCard(table: string, rows: readonly DivergenceRow[]): Html {
  const shown = rows.slice(0, MAX_ROWS);
  const more = rows.length - shown.length;
  const note =
    more === 0
      ? NONE
      : html`<p class="reason" style="padding:10px 18px">
          ${countOf(more, 'row')} more in the JSON report.
        </p>`;
  const values = rows.some((row) => row.columns.some((column) => 'candidate' in column));
  return html`<div class="card">
    <details ${rows.length <= 25 ? 'open' : ''}>
      <summary>
        <code>${table}</code> <span class="muted">${countOf(rows.length, 'row')}</span>
      </summary>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">Key</th>
              <th scope="col">Kind</th>
              <th scope="col">${values ? 'Production → candidate' : 'Columns'}</th>
              <th scope="col">First written</th>
            </tr>
          </thead>
          <tbody>
            ${shown.map(rowLine)}
          </tbody>
        </table>
      </div>
      ${note}
    </details>
  </div>`;
}

function rowLine(row: DivergenceRow): Html {
  return html`<tr>
    <th scope="row"><code>${keyText(row.key)}</code>${theirKey(row)}</th>
    <td><span class="badge ${row.kind}">${rowWord(row.kind)}</span></td>
    <td>${row.columns.map((column) => columnOf(row, column))}</td>
    <td class="muted" style="white-space:nowrap">${timeText(row.at)}</td>
  </tr>`;
}

/** Of a row that both added under keys of their own. */
function theirKey({ pairedWith }: DivergenceRow): Html {
  if (pairedWith === undefined) return NONE;
  return html`<span class="muted"> = <code>${keyText(pairedWith)}</code> in production</span>`;
}

/** An added row has no production value, a removed one no candidate's: one side is shown. */
function columnOf(row: DivergenceRow, column: DivergenceRow['columns'][number]): Html {
  switch (row.kind) {
    case 'insert':
      return valueChange(column.name, undefined, column.candidate);
    case 'delete':
      return valueChange(column.name, column.production, undefined);
    case 'update':
    case 'blocked':
    case 'pair':
      return valueChange(column.name, column.production, column.candidate);
    default:
      return unreachable(row.kind);
  }
}

function rowWord(kind: DivergenceRow['kind']): string {
  switch (kind) {
    case 'insert':
      return 'added';
    case 'update':
      return 'changed';
    case 'delete':
      return 'removed';
    case 'blocked':
      return 'kept out';
    case 'pair':
      return 'added by both';
    default:
      return unreachable(kind);
  }
}
