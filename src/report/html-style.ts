import { Html } from './html-template.ts';

/** The report's own style sheet: light and dark, print, no external resource. */
export const STYLE = new Html(`
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --line: #e3e6eb; --soft: #f1f3f6;
  --ink: #16191f; --muted: #5c6573; --link: #2f5bd7;
  --equal: #14784a; --equal-soft: #e4f5ec; --equal-line: #b5e0c8;
  --drift: #b3261e; --drift-soft: #fdecea; --drift-line: #f3c3be;
  --doubt: #8a5a00; --doubt-soft: #fdf3dc; --doubt-line: #eed7a0;
  --note: #2f5bd7; --note-soft: #e9effd;
  --mono: ui-monospace, 'SF Mono', 'Cascadia Mono', 'JetBrains Mono', Menlo, Consolas,
    'DejaVu Sans Mono', monospace;
  --sans: system-ui, -apple-system, 'Segoe UI', Inter, Roboto, 'Helvetica Neue', sans-serif;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #101216; --card: #181b21; --line: #2a2f38; --soft: #20242c;
    --ink: #e8eaee; --muted: #98a1b0; --link: #8fb0ff;
    --equal: #5fd39a; --equal-soft: #12291f; --equal-line: #23513b;
    --drift: #ff8a80; --drift-soft: #331715; --drift-line: #63302c;
    --doubt: #f0c060; --doubt-soft: #2e2410; --doubt-line: #5a4620;
    --note: #8fb0ff; --note-soft: #1a2440;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.55 var(--sans); font-variant-numeric: tabular-nums;
}
main, header.top, footer { max-width: 1080px; margin: 0 auto; padding: 0 28px; }
header.top { padding-top: 36px; display: flex; flex-wrap: wrap; gap: 4px 24px;
  align-items: baseline; justify-content: space-between; }
.brand { font-weight: 650; letter-spacing: -0.01em; color: var(--muted); font-size: 14px; }
.brand b { color: var(--ink); font-weight: 650; }
.when { color: var(--muted); font-size: 13px; }
h1 { margin: 6px 0 20px; font-size: 28px; line-height: 1.2; letter-spacing: -0.02em;
  font-weight: 680; flex-basis: 100%; overflow-wrap: anywhere; }
h1 span { color: var(--muted); font-weight: 450; }
h2 { margin: 0; font-size: 18px; letter-spacing: -0.01em; font-weight: 650; }
h3 { margin: 0; font-size: 15px; font-weight: 620; }
p { margin: 0; }
a { color: var(--link); }
code, .mono { font-family: var(--mono); font-size: 0.88em; overflow-wrap: anywhere; }
section { margin: 36px 0; }
section > .lead { color: var(--muted); margin: 4px 0 16px; max-width: 72ch; }
.verdict { display: grid; grid-template-columns: auto 1fr; gap: 2px 20px; align-items: center;
  padding: 22px 28px; border: 1px solid; border-radius: 14px; }
.verdict .mark { width: 52px; height: 52px; grid-row: 1 / 4; }
.verdict .label { font-size: 13px; font-weight: 600; }
.verdict .word { font-size: 26px; font-weight: 700; letter-spacing: -0.02em; line-height: 1.15;
  align-self: end; }
.verdict .why { color: var(--ink); align-self: start; }
.verdict .why span { display: block; margin-top: 2px; }
.verdict.equal { background: var(--equal-soft); border-color: var(--equal-line); color: var(--equal); }
.verdict.drift { background: var(--drift-soft); border-color: var(--drift-line); color: var(--drift); }
.verdict.inconclusive { background: var(--doubt-soft); border-color: var(--doubt-line);
  color: var(--doubt); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px;
  margin: 16px 0 0; padding: 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 14px 18px; }
.tile dt { color: var(--muted); font-size: 13px; }
.tile dd { margin: 2px 0 0; font-size: 22px; font-weight: 650; letter-spacing: -0.015em; }
.tile dd small { display: block; font-size: 13px; font-weight: 400; color: var(--muted);
  letter-spacing: 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  overflow: hidden; }
.card + .card { margin-top: 12px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: 9px 18px; text-align: left; vertical-align: top;
  border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--muted); font-weight: 500; font-size: 13px;
  background: var(--soft); white-space: nowrap; }
tbody th { font-weight: 500; }
tbody th code { white-space: nowrap; }
td.result { min-width: 240px; }
td.key { min-width: 14ch; }
td.n, th.n { text-align: right; white-space: nowrap; }
td.zero { color: var(--muted); }
.badge { display: inline-block; padding: 1px 9px; border-radius: 99px; font-size: 12.5px;
  font-weight: 600; white-space: nowrap; }
.badge.equal { color: var(--equal); background: var(--equal-soft); }
.badge.drift, .badge.delete { color: var(--drift); background: var(--drift-soft); }
.badge.not-compared, .badge.inconclusive, .badge.blocked { color: var(--doubt); background: var(--doubt-soft); }
.badge.update, .badge.changed, .badge.pair { color: var(--note); background: var(--note-soft); }
.badge.insert, .badge.extra { color: var(--equal); background: var(--equal-soft); }
.badge.missing { color: var(--drift); background: var(--drift-soft); }
.reason { color: var(--muted); font-size: 14px; }
.notes { list-style: none; margin: 12px 0 0; padding: 0; }
.notes li { padding: 10px 18px; border: 1px solid var(--doubt-line); background: var(--doubt-soft);
  border-radius: 10px; margin-top: 8px; }
.notes code { color: var(--muted); }
.group { padding: 16px 18px; display: grid; grid-template-columns: minmax(64px, auto) 1fr;
  gap: 2px 20px; border-top: 1px solid var(--line); }
.group:first-child { border-top: 0; }
.group .count { font-size: 24px; font-weight: 680; letter-spacing: -0.02em; line-height: 1.25;
  text-align: right; grid-row: span 2; }
.group .what { display: flex; flex-wrap: wrap; gap: 4px 10px; align-items: baseline; }
.group .such { color: var(--muted); font-size: 14px; }
.chip { font-family: var(--mono); font-size: 12.5px; background: var(--soft); padding: 1px 7px;
  border-radius: 6px; overflow-wrap: anywhere; }
details > summary { cursor: pointer; padding: 12px 18px; font-weight: 560; list-style: none;
  display: flex; flex-wrap: wrap; gap: 4px 12px; align-items: baseline; }
details > summary::-webkit-details-marker { display: none; }
details > summary::before { content: '›'; color: var(--muted); width: 0.6em;
  display: inline-block; transition: transform 0.12s; }
details[open] > summary::before { transform: rotate(90deg); }
details > summary:focus-visible, a:focus-visible { outline: 2px solid var(--link);
  outline-offset: -2px; border-radius: 8px; }
summary .muted, .muted { color: var(--muted); font-weight: 400; }
.change { display: grid; grid-template-columns: minmax(110px, auto) 1fr; gap: 2px 14px; }
.change + .change { margin-top: 6px; }
.change .name { color: var(--muted); font-family: var(--mono); font-size: 12.5px; padding-top: 1px; }
.values { display: flex; flex-wrap: wrap; gap: 2px 8px; align-items: baseline; }
del, ins { font-family: var(--mono); font-size: 12.5px; text-decoration: none; padding: 0 6px;
  border-radius: 5px; overflow-wrap: anywhere; white-space: pre-wrap; }
del { background: var(--soft); color: var(--muted); }
ins { background: var(--note-soft); color: var(--note); }
del.null, ins.null { font-style: italic; }
.arrow { color: var(--muted); }
.bar { display: block; height: 6px; min-width: 90px; border-radius: 99px; background: var(--soft);
  overflow: hidden; margin-top: 8px; }
.bar i { display: block; height: 100%; background: var(--note); border-radius: 99px; }
dl.facts { display: grid; grid-template-columns: minmax(150px, max-content) 1fr; margin: 0;
  padding: 6px 0; }
dl.facts dt { color: var(--muted); padding: 7px 18px; }
dl.facts dd { margin: 0; padding: 7px 18px 7px 0; overflow-wrap: anywhere; }
footer { color: var(--muted); font-size: 13px; padding-top: 28px; padding-bottom: 48px; }
main section:last-child { margin-bottom: 0; }
.sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
@media (max-width: 640px) {
  main, header.top, footer { padding-left: 16px; padding-right: 16px; }
  .verdict { padding: 18px; gap: 4px 14px; } .verdict .mark { width: 40px; height: 40px; }
  th, td { padding: 8px 12px; } dl.facts { grid-template-columns: 1fr; }
  dl.facts dt { padding-bottom: 0; } dl.facts dd { padding: 0 18px 8px; }
  .group { grid-template-columns: 1fr; } .group .count { text-align: left; }
}
@media print {
  body { background: #fff; } .card, .tile, .verdict { break-inside: avoid; }
  details > summary::before { content: ''; }
}
`);
