/**
 * The report as one HTML file: no script, no request to anywhere, readable in light and dark and
 * on paper. The verdict comes first; then what the candidate changed, which is what the reader
 * decides by; then what the verdict rests on.
 */
import { unreachable } from '../util/assert.ts';
import type { DriftReport, Reason, Verdict } from './drift-report.ts';
import type { Divergence } from './divergence.ts';
import { divergenceSection } from './html-divergence.ts';
import { otherSide, proofSection, replicationSection } from './html-replication.ts';
import { STYLE } from './html-style.ts';
import { html, NONE, type Html } from './html-template.ts';
import {
  countOf,
  countText,
  durationText,
  replicationTotals,
  timeText,
  verdictSentence,
  verdictWord,
} from './words.ts';

export function renderHtml(report: DriftReport): string {
  const { name, kind, database } = report.subject;
  return page({
    title: `${name}: ${verdictWord(report.verdict).toLowerCase()} – drift report`,
    heading: name,
    subheading: `${kind} in database ${database}`,
    when: html`<time datetime="${report.startedAt}">${timeText(report.startedAt)}</time>, took
      ${durationText(report.durationMs)}`,
    body: html`${banner(report)} ${tiles(report)} ${notes(report.reasons)}
    ${divergenceSection(report.divergence)} ${replicationSection(report)} ${proofSection(report)}`,
  });
}

/** What a rollout's candidate changed, as one HTML file, without a check of the copy. */
export function renderDivergenceHtml(rollout: string, divergence: Divergence): string {
  return page({
    title: `${rollout}: divergence report`,
    heading: rollout,
    subheading: 'rollout, not checked against production',
    when: NONE,
    body: divergenceSection(divergence),
  });
}

function page(parts: {
  readonly title: string;
  readonly heading: string;
  readonly subheading: string;
  readonly when: Html;
  readonly body: Html;
}): string {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta
          http-equiv="Content-Security-Policy"
          content="default-src 'none'; style-src 'unsafe-inline'"
        />
        <title>${parts.title}</title>
        <style>
          ${STYLE}
        </style>
      </head>
      <body>
        <header class="top">
          <span class="brand"><b>understudy</b> · drift report</span>
          <span class="when">${parts.when}</span>
          <h1>${parts.heading} <span>${parts.subheading}</span></h1>
        </header>
        <main>${parts.body}</main>
        <footer>
          <p>Keys are shown; values only where the report was made with --show-values.</p>
        </footer>
      </body>
    </html> `.text;
}

function banner(report: DriftReport): Html {
  return html`<div class="verdict ${report.verdict}" role="status">
    ${mark(report.verdict)}
    <p class="label">Replication check</p>
    <p class="word">${bannerWord(report)}</p>
    <p class="why">${verdictSentence(report)}${candidateSentence(report)}</p>
  </div>`;
}

/** Beside the verdict, so that `equal` is not read as a judgement of the candidate. */
function candidateSentence({ divergence }: DriftReport): Html {
  if (divergence === null) return NONE;
  const what =
    divergence.rows === 0 ? 'in no row' : `in ${countOf(divergence.rows, 'row')}: see below`;
  return html` <span>The candidate’s own writes differ from production ${what}.</span>`;
}

function bannerWord(report: DriftReport): string {
  switch (report.verdict) {
    case 'equal':
      return `Equal to ${otherSide(report)}`;
    case 'drift':
      return `Drifted from ${otherSide(report)}`;
    case 'inconclusive':
      return 'Inconclusive';
    default:
      return unreachable(report.verdict);
  }
}

function mark(verdict: Verdict): Html {
  return html`<svg
    class="mark"
    viewBox="0 0 24 24"
    fill="none"
    stroke="currentColor"
    stroke-width="1.8"
    stroke-linecap="round"
    stroke-linejoin="round"
    aria-hidden="true"
  >
    <circle cx="12" cy="12" r="10" />
    ${markPath(verdict)}
  </svg>`;
}

function markPath(verdict: Verdict): Html {
  switch (verdict) {
    case 'equal':
      return html`<path d="M7.5 12.4l3 3 6-6.6" />`;
    case 'drift':
      return html`<path d="M8.5 8.5l7 7m0-7l-7 7" />`;
    case 'inconclusive':
      return html`<path d="M9.4 9.3a2.7 2.7 0 1 1 3.9 2.5c-.9.5-1.3 1-1.3 1.9M12 16.8v.1" />`;
    default:
      return unreachable(verdict);
  }
}

function tiles(report: DriftReport): Html {
  const totals = replicationTotals(report);
  const list: Html[] = [];
  if (report.tables.length > 0) {
    const left = totals.notCompared === 0 ? 'none left out' : `${totals.notCompared} not compared`;
    const least = totals.complete ? '' : '≥ ';
    list.push(
      tile('Tables compared', `${totals.compared} of ${totals.tables}`, left),
      tile('Rows compared', countText(totals.rows), countOf(totals.leaves, 'leaf', 'leaves')),
      tile('Replication drift', `${least}${countOf(totals.differences, 'row')}`, 'must be none'),
    );
  }
  const { divergence } = report;
  if (divergence !== null) {
    const where = divergence.tables.filter((table) => table.ratio > 0).length;
    list.push(
      tile(
        'Candidate divergence',
        countOf(divergence.rows, 'row'),
        `in ${countOf(where, 'table')}`,
      ),
    );
  }
  return list.length === 0 ? NONE : html`<dl class="tiles">${list}</dl>`;
}

function tile(label: string, value: string, note: string): Html {
  return html`<div class="tile">
    <dt>${label}</dt>
    <dd>${value}<small>${note}</small></dd>
  </div>`;
}

/** Reasons of the whole check; those of one table stand in its line. */
function notes(reasons: readonly Reason[]): Html {
  const general = reasons.filter((reason) => reason.table === null);
  if (general.length === 0) return NONE;
  return html`<ul class="notes" aria-label="Why the check is not conclusive">
    ${general.map(
      (reason) => html`<li>${sentence(reason.message)} <code>${reason.code}</code></li>`,
    )}
  </ul>`;
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
