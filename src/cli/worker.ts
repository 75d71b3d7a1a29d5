import type { Command } from "commander";
import type { WorkerInfo } from "../client/index.js";
import { showDuration } from "./duration.js";
import { printJson } from "./json.js";
import {
  callOptions,
  clientCommand,
  type CliParts,
  type CommonFlags,
  withClient,
} from "./parts.js";
import { type Column, printRows } from "./table.js";

const columns: readonly Column<WorkerInfo>[] = [
  { title: "WORKER", cell: ({ workerId }) => workerId, shrinks: true },
  { title: "HOST", cell: ({ host }) => host, shrinks: true },
  { title: "RUNNING", cell: ({ running, slots }) => `${running}/${slots}` },
  { title: "STATE", cell: ({ draining }) => (draining ? "draining" : "serving"), optional: true },
  { title: "HEARTBEAT", cell: ({ lastHeartbeatAt }) => lastHeartbeatAt },
  { title: "TYPES", cell: typesOf, shrinks: true },
  { title: "QUEUES", cell: queuesOf, shrinks: true, optional: true },
  { title: "LABELS", cell: labelsOf, shrinks: true, optional: true },
  {
    title: "DELAY",
    cell: ({ eventLoopDelayMs }) => showDuration(eventLoopDelayMs),
    optional: true,
  },
  { title: "CPU", cell: ({ cpu }) => `${Math.round(cpu * 100)}%`, optional: true },
  { title: "SDK", cell: ({ sdk }) => sdk, shrinks: true, optional: true },
  { title: "SESSION", cell: ({ sessionId }) => sessionId, shrinks: true, optional: true },
  {
    title: "COORDINATOR",
    cell: ({ coordinatorId }) => coordinatorId,
    shrinks: true,
    optional: true,
  },
];

function typesOf({ subscriptions }: WorkerInfo): string {
  return [...new Set(subscriptions.flatMap(({ types }) => types))].join(",");
}

function queuesOf({ subscriptions }: WorkerInfo): string {
  return [...new Set(subscriptions.map(({ queue }) => queue))].join(",");
}

function labelsOf({ labels }: WorkerInfo): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(",");
}

/** `worker` runs handlers and is there already; this hangs what reads about workers below it. */
export function addWorkerCommands(program: Command, parts: CliParts): void {
  const worker =
    program.commands.find((command) => command.name() === "worker") ??
    program.command("worker").description("worker processes");
  clientCommand(worker, "list", "worker sessions over all coordinators").action(
    (flags: CommonFlags) =>
      withClient(parts, flags, async (client) => {
        const workers: WorkerInfo[] = [];
        for await (const each of client.workers.list(callOptions(flags))) workers.push(each);
        const { terminal, clock } = parts;
        const options = { terminal, now: clock.now(), empty: "No workers are connected." };
        if (flags.json) printJson({ workers }, terminal);
        else printRows(workers, columns, options);
      }),
  );
}
