/**
 * `npm run engine-names`: outside the few rooms below no code of src names a database engine, so
 * that a new engine stays one folder. Looks at identifiers, strings, templates, import paths and
 * regular expressions; comments may name an engine, for they decide nothing.
 */
import { readFile } from 'node:fs/promises';
import ts from 'typescript';
import { sourceFiles } from './source-files.ts';

const ENGINE = /postgres|mysql|mariadb/i;

/** The rooms and files whose business the engines are. */
const ALLOWED = [
  'src/dialect/',
  'src/decode/connectors/',
  'src/decode/types/',
  'src/decode/losses/',
  'src/config/',
  'src/source/kafka/',
  'src/demo/',
  'src/change/position.ts',
  'src/change/stored-source.ts',
];

interface Finding {
  readonly file: string;
  readonly line: number;
  readonly text: string;
}

/** True for an import path into a place that may name engines itself: composing is not deciding. */
function leadsIntoAllowed(node: ts.Node): boolean {
  return (
    ts.isStringLiteral(node) &&
    (ts.isImportDeclaration(node.parent) || ts.isExportDeclaration(node.parent)) &&
    /^(\.\.?\/)+(dialect|decode\/connectors|connectors)\//.test(node.text)
  );
}

function namesIn(file: string, text: string): Finding[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const findings: Finding[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isJSDoc(node)) return;
    if (node.getChildCount(source) === 0 && !leadsIntoAllowed(node)) {
      const token = node.getText(source);
      if (ENGINE.test(token)) {
        const { line } = source.getLineAndCharacterOfPosition(node.getStart(source));
        findings.push({ file, line: line + 1, text: token.slice(0, 60).replaceAll('\n', ' ') });
      }
    }
    node.getChildren(source).forEach(visit);
  };
  visit(source);
  return findings;
}

const findings: Finding[] = [];
const files = await sourceFiles('src');
for (const file of files) {
  if (ALLOWED.some((place) => file.startsWith(place))) continue;
  const named = ENGINE.test(file) ? [{ file, line: 0, text: 'the file name' }] : [];
  findings.push(...named, ...namesIn(file, await readFile(file, 'utf8')));
}
for (const { file, line, text } of findings) {
  console.error(`engine-name: ${file}:${line} names an engine: ${text}`);
}
console.error(`${files.length} files, ${findings.length} findings`);
process.exitCode = findings.length > 0 || files.length === 0 ? 1 : 0;
