/** No name is longer; whoever sends one may not have it compared with all. */
const lettersMost = 64;

/**
 * The known name that was probably meant: the fewest letters differ, and no more than a third of
 * them; capitals count as small letters. Undefined if none is a fair guess.
 */
export function nearest(name: string, known: readonly string[]): string | undefined {
  if (name.length > lettersMost) return undefined;
  let best: string | undefined;
  let least = Math.floor(Math.max(name.length, 3) / 3) + 1;
  for (const other of known) {
    const steps = distance(name.toLowerCase(), other.toLowerCase());
    if (steps >= least) continue;
    least = steps;
    best = other;
  }
  return best ?? sharedBeginning(name, known);
}

/**
 * `redis_address` for `redis_url`, `delay` for `delayMs`: far by letters, near by the beginning.
 */
function sharedBeginning(name: string, known: readonly string[]): string | undefined {
  const first = /^[^_]+_/.exec(name)?.[0] ?? name;
  return first.length < 3 ? undefined : known.find((other) => other.startsWith(first));
}

/** Letters to add, drop, change or swap with their neighbour to make one of the other. */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const same = a[i - 1] === b[j - 1];
      let steps = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1));
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) steps = Math.min(steps, before[j - 2]! + 1);
      row.push(steps);
    }
    before = last;
    last = row;
  }
  return last[b.length]!;
}
