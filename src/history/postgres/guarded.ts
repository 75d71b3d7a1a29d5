import { type ChildProcess, spawn } from "node:child_process";

/**
 * The shell stands between so that the program ends when we do: descriptor 3 closes with this
 * process, however it ends. The program gets a process group of its own, because Ctrl-C is for us:
 * we stop it last.
 */
const script = [
  '"$@" 3<&- & p=$!',
  "(read -r _ <&3; kill -INT $p; kill -CONT $p) 2>/dev/null & w=$!",
  "wait $p; s=$?",
  "kill $w 2>/dev/null; exit $s",
].join("\n");

export interface GuardedOptions {
  cwd: string;
  uid?: number;
  gid?: number;
}

export interface Guarded {
  child: ChildProcess;
  /** Exit code, or what ended it, once it is gone and all it wrote was read. */
  exited: Promise<number | string>;
  /** The last 2 KiB it wrote. */
  lastLines(): string;
  /** Asks it to end (SIGINT). */
  end(): void;
  /** Sends a signal to the program and its guard. */
  signal(name: NodeJS.Signals): void;
}

/** Starts a server program that cannot outlive this process. */
export function spawnGuarded(program: string, args: string[], options: GuardedOptions): Guarded {
  const child = spawn("/bin/sh", ["-c", script, "sh", program, ...args], {
    ...options,
    stdio: ["ignore", "pipe", "pipe", "pipe"],
    detached: true,
  });
  child.stdio[3]?.on("error", () => undefined);
  return {
    child,
    exited: exitOf(child),
    lastLines: lastLinesOf(child),
    end: () => child.stdio[3]?.destroy(),
    signal(name) {
      try {
        if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, name);
      } catch {
        // Gone already.
      }
    },
  };
}

export function lastLinesOf(child: ChildProcess): () => string {
  let text = "";
  const keep = (chunk: Buffer) => {
    text = (text + chunk.toString("utf8")).slice(-2_048);
  };
  child.stdout?.on("data", keep);
  child.stderr?.on("data", keep);
  return () => text.trim();
}

export function exitOf(child: ChildProcess): Promise<number | string> {
  return new Promise((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code, signal) => resolve(code ?? signal ?? "unknown"));
  });
}

/**
 * Resolves once the program has written `text`; rejects when it ends first or the signal is
 * aborted.
 */
export function untilItSays({ child, exited }: Guarded, text: string, signal: AbortSignal) {
  return new Promise<void>((resolve, reject) => {
    let seen = "";
    const watch = (chunk: Buffer) => {
      seen = (seen + chunk.toString("utf8")).slice(-4_096);
      if (seen.includes(text)) settle(resolve);
    };
    const onAbort = () => settle(() => reject(signal.reason as Error));
    const settle = (then: () => void) => {
      child.stdout?.off("data", watch);
      child.stderr?.off("data", watch);
      signal.removeEventListener("abort", onAbort);
      then();
    };
    child.stdout?.on("data", watch);
    child.stderr?.on("data", watch);
    void exited.then((code) => settle(() => reject(new Error(`it ended (${code})`))));
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
