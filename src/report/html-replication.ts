/** The parts of the HTML report that judge the shadow: was our image production's? */
import { unreachable } from '../util/assert.ts';
import type { ColumnDifference, DriftReport, RowDifference, TableResult } from './drift-report.ts';
import { html, NONE, type Html } from './html-template.ts';
import { countOf, countText, durationText, keyText, replicationTotals } from './words.ts';

/** Rows shown per report; the JSON form has all that were listed. */
const MAX_ROWS = 500;

export function replicationSection(report: DriftReport): Html {
  if (report.tables.length === 0) return NONE;
  return html`<section aria-labelledby="replication">
    <h2 id="replication">Replication check</h2>
    <p class="lead">
      The shadow’s image of production against ${otherSide(report)}, both at the same position: what
      understudy itself is answerable for. Each row is hashed once on both sides, strictly as
      stored.
    </p>
    <div class="card scroll">
      <table>
        <thead>
          <tr>
            <th scope="col">Table</th>
            <th scope="col" class="n">Rows</th>
            <th scope="col" class="n">Leaves</th>
            <th scope="col" class="n">Missing</th>
            <th scope="col" class="n">Extra</th>
            <th scope="col" class="n">Changed</th>
            <th scope="col">Result</th>
          </tr>
        </thead>
        <tbody>
          ${sortedTables(report.tables).map(tableRow)}
        </tbody>
      </table>
    </div>
    ${differencesCard(report.differences)}
  </section>`;
}

export function otherSide(report: DriftReport): string {
  return report.pin?.against === 'manifest' ? 'a manifest of production' : 'production';
}

/** What needs attention first; otherwise as compared. */
function sortedTables(tables: readonly TableResult[]): readonly TableResult[] {
  const order = { drift: 0, 'not-compared': 1, inconclusive: 1, equal: 2 } as const;
  return [...tables].sort((a, b) => order[a.state] - order[b.state]);
}

function tableRow(table: TableResult): Html {
  const known = table.rows !== null;
  const number = (count: number): Html =>
    html`<td class="n ${count === 0 ? 'zero' : ''}">${known ? countText(count) : '–'}</td>`;
  const reason =
    table.reason === null ? NONE : html` <span class="reason">${table.reason.message}</span>`;
  return html`<tr>
    <th scope="row"><code>${table.table}</code></th>
    <td class="n">${table.rows === null ? '–' : countText(table.rows)}</td>
    <td class="n zero">${known ? countText(table.leaves) : '–'}</td>
    ${number(table.missing)}${number(table.extra)}${number(table.changed)}
    <td class="result">
      <span class="badge ${table.state}">${stateWord(table.state)}</span>${reason}
    </td>
  </tr>`;
}

function stateWord(state: TableResult['state']): string {
  switch (state) {
    case 'equal':
      return 'equal';
    case 'drift':
      return 'drift';
    case 'inconclusive':
      return 'inconclusive';
    case 'not-compared':
      return 'not compared';
    default:
      return unreachable(state);
  }
}

function differencesCard(all: readonly RowDifference[]): Html {
  if (all.length === 0) return NONE;
  const shown = all.slice(0, MAX_ROWS);
  const more = all.length - shown.length;
  return html`<div class="card">
    <details ${all.length <= 50 ? 'open' : ''}>
      <summary>
        Rows that differ <span class="muted">${countOf(all.length, 'row')} listed</span>
      </summary>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">Table</th>
              <th scope="col">Key</th>
              <th scope="col">Kind</th>
              <th scope="col">Columns</th>
            </tr>
          </thead>
          <tbody>
            ${shown.map(
              (row) =>
                html`<tr>
                  <th scope="row"><code>${row.table}</code></th>
                  <td class="key"><code>${keyText(row.key)}</code></td>
                  <td><span class="badge ${row.kind}">${row.kind}</span></td>
                  <td>${row.columns.map(columnChange)}${causeChip(row.cause)}</td>
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
      ${more > 0 ? html`<p class="reason" style="padding:10px 18px">${countOf(more, 'row')} more in the JSON report.</p>` : NONE}
    </details>
  </div>`;
}

function columnChange(column: ColumnDifference): Html {
  const cause = causeChip(column.cause);
  return html`${valueChange(column.name, column.production, column.shadow)}${cause}`;
}

function causeChip(cause: string | undefined): Html {
  return cause === undefined ? NONE : html`<span class="reason">${cause}</span> `;
}

/** One column with its two values, or its name alone where values were not asked for. */
export function valueChange(
  name: string,
  production: string | null | undefined,
  other: string | null | undefined,
): Html {
  if (production === undefined && other === undefined)
    return html`<span class="chip">${name}</span> `;
  const arrow =
    production === undefined || other === undefined
      ? NONE
      : html`<span class="arrow" aria-hidden="true">→</span><span class="sr"> became </span>`;
  return html`<div class="change">
    <span class="name">${name}</span>
    <span class="values"
      >${production === undefined ? NONE : valueText('del', production)}${arrow}${other === undefined ? NONE : valueText('ins', other)}</span
    >
  </div>`;
}

function valueText(tag: 'del' | 'ins', value: string | null): Html {
  const shown =
    value === null
      ? html`NULL`
      : value === ''
        ? html`empty`
        : html`${value.length > 300 ? `${value.slice(0, 299)}…` : value}`;
  const style = value === null || value === '' ? 'null' : '';
  return tag === 'del'
    ? html`<del class="${style}">${shown}</del>`
    : html`<ins class="${style}">${shown}</ins>`;
}

/** How the two sides were brought to one point, for whoever doubts the verdict. */
export function proofSection(report: DriftReport): Html {
  const { pin } = report;
  if (pin === null) return NONE;
  const totals = replicationTotals(report);
  const offsets = Object.entries(pin.position.endOffsets).sort(([a], [b]) => (a < b ? -1 : 1));
  return html`<section aria-labelledby="proof">
    <h2 id="proof">Position and proof</h2>
    <p class="lead">
      A difference cannot be a matter of timing: the shadow applied exactly the transactions that
      the pinned snapshot saw, and held the others back until it had been read.
    </p>
    <div class="card">
      <dl class="facts">
        <dt>Compared against</dt>
        <dd>${otherSide(report)}</dd>
        <dt>Proof</dt>
        <dd><code>${pin.proof}</code></dd>
        <dt>Snapshot</dt>
        <dd><code>${pin.snapshot}</code></dd>
        <dt>Marker in production’s log</dt>
        <dd><code>${pin.position.marker}</code></dd>
        <dt>Transactions held back</dt>
        <dd>${countText(pin.deferred)}</dd>
        <dt>Applying stood still</dt>
        <dd>${durationText(pin.frozenMs)}</dd>
        <dt>Rows hashed</dt>
        <dd>${countText(totals.rows)} in ${countOf(totals.leaves, 'leaf', 'leaves')}</dd>
      </dl>
      <details style="border-top:1px solid var(--line)">
        <summary>
          Event log read to <span class="muted">${countOf(offsets.length, 'partition')}</span>
        </summary>
        <div class="scroll">
          <table>
            <thead>
              <tr>
                <th scope="col">Topic partition</th>
                <th scope="col" class="n">End offset</th>
              </tr>
            </thead>
            <tbody>
              ${offsets.map(
                ([partition, end]) =>
                  html`<tr>
                    <th scope="row"><code>${partition}</code></th>
                    <td class="n">${end}</td>
                  </tr>`,
              )}
            </tbody>
          </table>
        </div>
      </details>
    </div>
  </section>`;
}
