import type { TaskSource } from "./task-rows.js";

export function openTaskSource(_address?: string): TaskSource {
  throw new Error("pending");
}
