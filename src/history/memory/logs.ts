import { parseTaskId } from "../../task/ids.js";
import { isAfter, type LogEntry } from "../../task/log.js";
import type { LogQuery } from "../history.js";
import type { MemoryHistoryStore } from "./store.js";

export function addLogs(store: MemoryHistoryStore, entries: readonly LogEntry[]): void {
  for (const entry of entries) {
    const kept = store.logs.get(entry.taskId) ?? [];
    store.logs.set(entry.taskId, kept);
    // Nearly always the last one: from there it is a step or two to its place.
    let at = kept.length;
    while (at > 0 && isAfter(kept[at - 1]!, entry)) at -= 1;
    const known = at > 0 && !isAfter(entry, kept[at - 1]!);
    if (!known) kept.splice(at, 0, entry);
  }
}

export function logs(store: MemoryHistoryStore, query: LogQuery): LogEntry[] {
  const kept = store.logs.get(parseTaskId(query.taskId) ?? "") ?? [];
  const found = kept.filter(
    (entry) =>
      isAfter(entry, query.after) &&
      (query.attempt === undefined || entry.attempt === query.attempt),
  );
  return found.slice(0, query.limit);
}
