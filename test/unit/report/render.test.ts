import { describe, expect, test } from 'vitest';
import { renderDivergenceHtml, renderHtml } from '../../../src/report/html.ts';
import { renderDivergenceText, renderText } from '../../../src/report/text.ts';
import {
  driftReport,
  equalReport,
  inconclusiveReport,
  sampleDivergence,
} from '../../support/report-samples.ts';

/** To renew: `vitest run --update`, then read the difference. */
const golden = (name: string): string => `../../golden/reports/${name}`;

describe('golden reports', () => {
  test.each([
    ['equal', equalReport(true)],
    ['drift', driftReport()],
    ['inconclusive', inconclusiveReport()],
  ])('%s as text, JSON and HTML', async (name, report) => {
    const text = renderText(report, { colour: false });
    await expect(text).toMatchFileSnapshot(golden(`${name}.txt`));
    const json = `${JSON.stringify(report, null, 2)}\n`;
    await expect(json).toMatchFileSnapshot(golden(`${name}.json`));
    await expect(renderHtml(report)).toMatchFileSnapshot(golden(`${name}.html`));
  });

  test('divergence alone', async () => {
    const divergence = sampleDivergence(false);
    const text = renderDivergenceText('checkout-v2', divergence, { colour: false });
    await expect(text).toMatchFileSnapshot(golden('divergence.txt'));
    const html = renderDivergenceHtml('checkout-v2', divergence);
    await expect(html).toMatchFileSnapshot(golden('divergence.html'));
  });
});

describe('a report', () => {
  test('without --show-values holds no value in any form', () => {
    const report = equalReport(false);
    for (const form of [
      JSON.stringify(report),
      renderText(report, { colour: true }),
      renderHtml(report),
    ]) {
      for (const value of ['104199', '104200', 'leave at the door', 'TEA-0042', 'paid']) {
        expect(form).not.toContain(value);
      }
      expect(form).toContain('total_cents');
      expect(form).toContain('1041');
    }
  });

  test('in HTML escapes what comes from the database', () => {
    const report = equalReport(true);
    const evil = {
      ...report,
      subject: { ...report.subject, name: '<img src=x onerror=alert(1)>' },
    };
    const page = renderHtml(evil);
    expect(page).not.toContain('<img');
    expect(page).not.toContain('<b>leave');
    expect(page).toContain('&lt;b&gt;leave at the door&lt;/b&gt; &amp; &quot;ring&quot;');
  });

  test('in HTML asks nothing of the network and runs no script', () => {
    for (const report of [equalReport(true), driftReport(), inconclusiveReport()]) {
      const page = renderHtml(report);
      expect(page).not.toMatch(/<script|<link|<iframe|https?:|url\(|@import|\bsrc=|\bon\w+=/i);
    }
  });

  test('on a terminal is coloured only where asked for', () => {
    const escape = String.fromCharCode(27);
    expect(renderText(driftReport(), { colour: true })).toContain(`${escape}[31mDRIFT`);
    expect(renderText(driftReport(), { colour: false })).not.toContain(escape);
  });

  test('says how much of a long list is left out', () => {
    const text = renderText(driftReport(), { colour: false, maxLines: 1 });
    expect(text).toContain('… and 2 tables more');
    expect(text).toContain('… and 2 rows more');
  });
});
