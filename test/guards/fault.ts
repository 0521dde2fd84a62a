import { expect, test } from 'vitest';
import { Sandbox } from './sandbox.ts';

/** One planted fault, the step that must fail on it, and what that step must say. */
export interface Fault {
  /** What is wrong, as the rest of "… is caught". */
  readonly what: string;
  readonly step: string;
  /** Files to write: path to content. */
  readonly files?: Readonly<Record<string, string>>;
  /** A change of one file of the clean project or of the configuration. */
  readonly edit?: readonly [path: string, from: string, to: string];
  /** Each must be in the step's output: the rule, and the file it names. */
  readonly says: readonly (string | RegExp)[];
}

/** One test per fault, in a sandbox of its own. That the sandbox is clean is check.test.ts's. */
export function testFaults(faults: readonly Fault[]): void {
  for (const fault of faults) {
    test(`${fault.what} is caught by ${fault.step}`, async () => {
      await using sandbox = await Sandbox.create();
      await sandbox.plant(fault.files ?? {});
      if (fault.edit !== undefined) await sandbox.edit(...fault.edit);
      const { code, output } = await sandbox.check(fault.step);
      expect(output).toContain(`FAIL ${fault.step}`);
      for (const said of fault.says) expect(output).toMatch(said);
      expect(code).toBe(1);
    });
  }
}
