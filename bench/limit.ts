/** What limits each throughput figure, read off its CPU: pure. */
import type { Row } from "./summary.js";

/** From this share on a core, or the machine, counts as full: the rest goes to the kernel. */
const full = 0.85;

interface Use {
  readonly name: string;
  /** Cores. */
  readonly cores: number;
}

function usesOf({ value, cpu_us }: Row): Use[] {
  const uses = Object.entries(cpu_us).map(([name, us]) => ({ name, cores: (us * value) / 1e6 }));
  return uses.toSorted((a, b) => b.cores - a.cores);
}

/**
 * Postgres serves each connection by a process of its own; all others do their work on one thread.
 */
const isOneThread = ({ name }: Use): boolean => name !== "postgres";

function verdict(uses: readonly Use[], total: number, cores: number): string {
  const thread = uses.find((use) => isOneThread(use) && use.cores >= full);
  if (total >= full * cores) {
    return `the machine: all ${cores} cores are busy, so only less CPU a task makes it faster`;
  }
  if (thread) return `the one thread of the ${thread.name}`;
  return "waiting: round trips, syncs and batches that are not full; no core is busy throughout";
}

/** One sentence for each throughput figure. */
export function limitsInWords(rows: readonly Row[], cores: number): string[] {
  return rows
    .filter(({ unit, cpu_us }) => unit === "tasks/s" && Object.keys(cpu_us).length > 0)
    .map((row) => {
      const uses = usesOf(row);
      const total = uses.reduce((sum, use) => sum + use.cores, 0);
      const shares = uses.map((use) => `${use.name} ${use.cores.toFixed(2)}`).join(", ");
      const what = `${row.figure} of ${row.system} (${row.durability})`;
      const used = `${total.toFixed(2)} of ${cores} cores in use (${shares})`;
      return `${what}: ${used}. Limited by ${verdict(uses, total, cores)}.`;
    });
}
