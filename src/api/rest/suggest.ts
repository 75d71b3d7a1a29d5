/** The name most like `given`, if one is like it at all. */
export function suggest(given: string, names: readonly string[]): string | undefined {
  const most = Math.max(1, Math.min(3, Math.floor(given.length / 3)));
  let best: string | undefined;
  let least = most + 1;
  for (const name of names) {
    if (Math.abs(name.length - given.length) > most || given.length > 64) continue;
    const distance = editDistance(given.toLowerCase(), name);
    if (distance < least) {
      least = distance;
      best = name;
    }
  }
  return best;
}

/** Insertions, removals and replacements (Levenshtein), row by row. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
