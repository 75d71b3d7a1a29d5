/** Payload and result by task type: what a typed worker and a typed client share. */
export type TaskMap<Tasks> = { [Type in keyof Tasks]: { payload: unknown; result?: unknown } };

/** Without a map every type goes, and payloads and results are unknown. */
export type AnyTasks = Record<string, { payload: unknown; result?: unknown }>;
