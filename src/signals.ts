/** Resolves with the name of the first SIGTERM or SIGINT. A second one ends the process at once. */
export function untilSignal(): Promise<string> {
  return new Promise((resolve) => {
    let heard = false;
    const hear = (signal: NodeJS.Signals) => {
      if (heard) process.exit(130);
      heard = true;
      resolve(signal);
    };
    process.on("SIGTERM", hear);
    process.on("SIGINT", hear);
  });
}
