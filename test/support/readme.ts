import { readFile } from 'node:fs/promises';

export const README = new URL('../../README.md', import.meta.url);

export function readReadme(): Promise<string> {
  return readFile(README, 'utf8');
}

/** The commands of all code blocks marked `sh`, in their order; continued lines are one. */
export function shellCommands(markdown: string): readonly string[] {
  const blocks = [...markdown.matchAll(/^```sh\n(.*?)^```$/gms)].map((match) => match[1] ?? '');
  return blocks
    .flatMap((block) => block.replaceAll(/\\\n\s*/g, '').split('\n'))
    .map((line) => line.trim())
    .filter((line) => line !== '');
}
