import type { Logger } from "./logger.js";

export interface SignalOptions {
  logger: Logger;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Ends the grace at once. */
  force(): Promise<void>;
}

const signals = ["SIGTERM", "SIGINT"] as const;

/**
 * Runs until a signal asks for the end and the end is reached. A second signal forces it, a third
 * has its usual effect.
 */
export async function runUntilSignal(options: SignalOptions): Promise<void> {
  let received = 0;
  let onSignal: (signal: NodeJS.Signals) => void = () => undefined;
  const forget = (): void => {
    for (const name of signals) process.removeListener(name, onSignal);
  };
  const stopped = new Promise<void>((resolve, reject) => {
    onSignal = (signal) => {
      received += 1;
      options.logger.info({ signal }, received === 1 ? "stopping" : "stopping at once");
      if (received > 1) forget();
      const stopping = received === 1 ? options.stop() : options.force();
      stopping.then(resolve, reject);
    };
  });
  for (const name of signals) process.on(name, onSignal);
  try {
    await options.start();
    await stopped;
  } finally {
    forget();
  }
}
