import type { Reporter, TestModule } from "vitest/node";

/**
 * Ends a run with one plain line that people and machines read alike: `N passed, N failed, N
 * skipped`.
 */
export default class PlainLineReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const count = { passed: 0, failed: unhandledErrors.length, skipped: 0 };
    for (const module of modules) {
      let failedHere = 0;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === "pending") continue;
        count[state] += 1;
        if (state === "failed") failedHere += 1;
      }
      // A file that cannot be loaded has no tests to fail, yet it failed.
      if (failedHere === 0 && module.state() === "failed") count.failed += 1;
    }
    // Last of all, after the other reporters' summaries.
    process.once("exit", () => {
      console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
      if (process.env.DROVER_NO_SKIPS && count.skipped > 0) process.exitCode ||= 1;
    });
  }
}
