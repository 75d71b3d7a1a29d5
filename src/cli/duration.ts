const unitMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

const whole = /^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/;
const part = /(\d+(?:\.\d+)?)(ms|s|m|h|d)/g;

/** `500ms`, `1.5s`, `1h30m`, `7d`, `0` in milliseconds; undefined if it is none of that. */
export function parseDuration(text: string): number | undefined {
  if (text === "0") return 0;
  if (!whole.test(text)) return undefined;
  let ms = 0;
  for (const [, number, unit] of text.matchAll(part)) ms += Number(number) * unitMs[unit!]!;
  return Math.round(ms);
}

/** Two units at most: `1h30m`, `2d`, `1.5s`, `20ms`. */
export function showDuration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)}ms`;
  if (ms < 60_000) return `${Number((ms / 1_000).toFixed(1))}s`;
  const units = ["d", "h", "m", "s"];
  let rest = Math.round(ms / 1_000) * 1_000;
  const parts: string[] = [];
  for (const unit of units) {
    const size = unitMs[unit]!;
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) parts.push(`${count}${unit}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.join("");
}

/** One unit: `12s ago`, `in 5m`. */
export function age(now: number, time: Date): string {
  const ms = now - time.getTime();
  const distance = Math.abs(ms);
  if (distance < 1_000) return "now";
  const unit = ["d", "h", "m", "s"].find((name) => distance >= unitMs[name]!) ?? "s";
  const count = `${Math.floor(distance / unitMs[unit]!)}${unit}`;
  return ms < 0 ? `in ${count}` : `${count} ago`;
}
