#!/usr/bin/env node
import { Command, InvalidArgumentError } from "commander";
import { addClientCommands } from "./cli/commands.js";
import { showConfig } from "./cli/config.js";
import { showDoctor } from "./cli/doctor.js";
import { exitCodeOf, explain } from "./cli/exit.js";
import { showMigration } from "./cli/migrate.js";
import { processParts } from "./cli/parts.js";
import { type ConfigInput, configWarnings, explainConfig, loadConfig } from "./config.js";

interface ServeFlags {
  config?: string;
  host?: string;
  port?: number;
  grpcPort?: number;
  logLevel?: string;
}

const whole = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0)
    throw new InvalidArgumentError("expected a whole number");
  return value;
};

const flagsOf = (flags: ServeFlags): ConfigInput => ({
  host: flags.host,
  http_port: flags.port,
  grpc_port: flags.grpcPort,
  log_level: flags.logLevel,
});

const sourcesOf = (flags: ServeFlags) => {
  const sources = { file: flags.config, env: process.env, flags: flagsOf(flags) };
  for (const warning of configWarnings(sources)) process.stderr.write(`drover: ${warning}\n`);
  return sources;
};

// What serves is loaded by the commands that serve: a client command starts in half the time.
async function runServer(flags: ServeFlags): Promise<void> {
  const { serve } = await import("./serve.js");
  process.exitCode = await serve(loadConfig(sourcesOf(flags)));
}

interface WorkFlags {
  handlers?: string;
  concurrency?: number;
}

interface DevFlags extends ServeFlags {
  memory?: boolean;
  dataDir: string;
  handlers?: string;
  samples?: boolean;
  check?: boolean;
}

async function develop(flags: DevFlags): Promise<void> {
  const { runDev } = await import("./dev.js");
  process.exitCode = await runDev({
    memory: flags.memory ?? false,
    dataDir: flags.dataDir,
    handlers: flags.handlers,
    samples: (flags.samples ?? false) || (flags.check ?? false),
    check: flags.check ?? false,
    flags: flagsOf(flags),
    env: process.env,
  });
}

/** What OpenTelemetry's variables ask for; handlers' own spans are exported with it. */
async function exportTelemetry(instanceId: string) {
  const { startExport } = await import("./telemetry/export.js");
  const onError = (error: unknown) =>
    console.error(`drover worker warn: telemetry was not exported: ${String(error)}`);
  return startExport({ serviceName: "drover-worker", instanceId, onError });
}

async function work(flags: WorkFlags, command: Command): Promise<void> {
  const { handlers } = flags;
  if (handlers === undefined) return command.error("error: give --handlers <dir>");
  const { createWorker, loadHandlers } = await import("./worker/index.js");
  const { createClient } = await import("./client/index.js");
  const client = createClient();
  const { concurrency } = flags;
  const worker = createWorker(concurrency === undefined ? { client } : { client, concurrency });
  for (const { type, queue, handle } of await loadHandlers(handlers)) {
    worker.handle(type, handle, queue === undefined ? {} : { queue });
  }
  const telemetry = await exportTelemetry(worker.sessionId);
  await worker.run();
  await client.close();
  await telemetry?.stop();
}

const program = new Command("drover")
  .description("A gRPC-first distributed task queue")
  .version("0.1.0")
  .showHelpAfterError("(--help tells more)");

program
  .command("dev")
  .description("everything by one command: coordinator, history, sample worker; nothing to install")
  .option("--memory", "keep history in memory too: starts at once, forgets at the end")
  .option("--data-dir <dir>", "where Postgres and the samples keep their files", ".drover")
  .option("--host <host>", "address to listen on (default 127.0.0.1)")
  .option("--port <port>", "REST and Connect (default 8080, or PORT)", whole)
  .option("--grpc-port <port>", "gRPC (default 50051, or GRPC_PORT)", whole)
  .option("--samples", "submit the four sample tasks and show them run")
  .option(
    "--check",
    "with --samples: look at their effects from outside, then end (exit code 0: all four seen)",
  )
  .option("--handlers <dir>", "run these handlers instead of the samples")
  .action(develop);

program
  .command("serve")
  .description("a coordinator on Redis and Postgres; run as many as you like")
  .option("--config <file>", "settings, as deploy/drover.yaml documents them")
  .option("--host <host>", "address to listen on (default 127.0.0.1)")
  .option("--port <port>", "REST and Connect (default 8080, or PORT)", whole)
  .option("--grpc-port <port>", "gRPC (default 50051, or GRPC_PORT)", whole)
  .option("--log-level <level>", "trace, debug, info, warn, error or silent")
  .action(runServer);

program
  .command("worker")
  .description("runs the handlers of a directory; DROVER_ADDR says where coordinators are")
  // Not a required one of commander's: that would ask `drover worker list` for it too.
  .option("--handlers <dir>", "modules that export { type, handle }; required")
  .option("--concurrency <n>", "tasks at once (default 10, or WORKER_CONCURRENCY)", whole)
  .action(work);

program
  .command("config")
  .description("the settings serve would run with, and where each came from; passwords are hidden")
  .option("--config <file>", "settings, as deploy/drover.yaml documents them")
  .option("--host <host>", "as serve takes it, like the flags below")
  .option("--port <port>", "REST and Connect", whole)
  .option("--grpc-port <port>", "gRPC", whole)
  .option("--log-level <level>", "trace, debug, info, warn, error or silent")
  .option("--json", "answer in JSON")
  .action((flags: ServeFlags & { json?: boolean }) => {
    showConfig(explainConfig(sourcesOf(flags)), flags, processParts());
  });

program
  .command("migrate")
  .description("brings the schema of history up to date, as the start of a coordinator does too")
  .option("--config <file>", "settings, as deploy/drover.yaml documents them")
  .option("--check", "only look: exit code 1 when something is pending")
  .option("--json", "answer in JSON")
  .action(async (flags: ServeFlags & { check?: boolean; json?: boolean }) => {
    const { runMigrate } = await import("./migrate.js");
    const report = await runMigrate(loadConfig(sourcesOf(flags)), { check: flags.check ?? false });
    showMigration(report, flags, processParts());
  });

program
  .command("doctor")
  .description("looks at Redis and Postgres: settings that break promises, and what they hold")
  .option("--config <file>", "settings, as deploy/drover.yaml documents them")
  .option("--full", "look at every key of Redis, however many there are")
  .option("--json", "answer in JSON")
  .addHelpText("after", "\nExit codes: 0 all well; 1 a promise does not hold; 5 a store is down.")
  .action(async (flags: ServeFlags & { full?: boolean; json?: boolean }) => {
    const { runDoctor } = await import("./doctor/doctor.js");
    const report = await runDoctor(loadConfig(sourcesOf(flags)), { full: flags.full ?? false });
    showDoctor(report, flags, processParts());
  });

addClientCommands(program);

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`${explain(error)}\n`);
  process.exitCode = exitCodeOf(error);
}
