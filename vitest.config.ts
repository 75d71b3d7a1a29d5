import { fileURLToPath } from "node:url";
import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/**
 * Files that take longest, longest first: what is begun last must be short. A story waits far more
 * than it computes, so stories come between files that compute, and never all at once.
 */
const longest = [
  "story/worker-frozen",
  "docs",
  "story/worker-cut-off",
  "story/coordinator-frozen",
  "doctor/doctor",
  "story/redis-emptied",
  "story/unique-raced",
  "conformance",
  "story/postgres-away",
  "history/postgres/embedded",
  "story/links-cut",
  "story/worker-dies",
  "api/abuse",
  "story/coordinator-dies",
  "story/redis-replaced",
  "broker/redis",
  "story/demo",
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification): number => {
      const at = longest.findIndex((name) => moduleId.includes(`/test/${name}`));
      if (at >= 0) return at;
      return longest.length + (moduleId.includes("/test/story/") ? 0 : 1);
    };
    const sorted = await super.sort(files);
    return sorted.toSorted((a, b) => place(a) - place(b));
  }
}

export default defineConfig({
  resolve: {
    // Examples import Drover by its package name, as its users do; here that name means the
    // sources.
    alias: {
      "drover/client": source("./src/client/index.ts"),
      "drover/worker": source("./src/worker/index.ts"),
    },
  },
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks",
    // Not more than cores: stories hold the product to bounds in seconds.
    maxWorkers: availableParallelism(),
    sequence: { sequencer: LongestFirst },
    globalSetup: ["test/support/global-setup.ts"],
    reporters: ["default", "./test/support/reporter.ts"],
    testTimeout: 30_000,
    hookTimeout: 90_000,
    // What is polled for has no bound of its own: only what never comes may outlast this.
    expect: { poll: { timeout: 20_000 } },
    allowOnly: false,
    passWithNoTests: false,
    coverage: {
      provider: "v8",
      include: ["src/**/*.ts"],
      reporter: ["text-summary", "html", "lcov"],
    },
  },
});
