import { type Command, Option } from "commander";
import { type Client, createClient } from "../client/index.js";
import { type Clock, systemClock } from "../clock.js";
import { duration } from "./arguments.js";
import { showDuration } from "./duration.js";
import { processTerminal, type Terminal } from "./terminal.js";

/** What commands are made of; tests put in their own. */
export interface CliParts {
  readonly terminal: Terminal;
  readonly connect: typeof createClient;
  readonly clock: Clock;
}

export const processParts = (): CliParts => ({
  terminal: processTerminal(),
  connect: createClient,
  clock: systemClock,
});

/** Options that every client command has. */
export interface CommonFlags {
  readonly addr?: string;
  readonly json?: boolean;
  /** Milliseconds. */
  readonly deadline: number;
}

const deadlineMs = 5_000;

/** A subcommand that speaks to a coordinator. */
export function clientCommand(parent: Command, name: string, description: string): Command {
  const deadline = new Option("--deadline <duration>", "longest time for an answer");
  return parent
    .command(name)
    .description(description)
    .option("--addr <host:port>", "coordinators, as a comma list (default: DROVER_ADDR)")
    .option("--json", "answer in JSON, as REST writes it")
    .addOption(deadline.argParser(duration).default(deadlineMs, showDuration(deadlineMs)));
}

/** Runs `act` with a client of its own, and closes it whatever happens. */
export async function withClient<T>(
  { connect }: CliParts,
  { addr }: Pick<CommonFlags, "addr">,
  act: (client: Client) => Promise<T>,
): Promise<T> {
  const client = connect(addr === undefined ? {} : { address: addr });
  try {
    return await act(client);
  } finally {
    await client.close();
  }
}

export const callOptions = ({ deadline }: Pick<CommonFlags, "deadline">) => ({
  timeoutMs: deadline,
});

/** Without what was not given: the SDK tells "not set" from "set to undefined". */
export function given<T extends object>(fields: T): { [K in keyof T]: NonNullable<T[K]> } {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]: NonNullable<T[K]> };
}
