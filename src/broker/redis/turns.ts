import type { ScriptName, Scripts } from "./scripts.js";

/**
 * What handles many tasks and can wait: it would hold up the answer to a lease call, for which
 * workers are idle.
 */
const patient: ReadonlySet<ScriptName> = new Set(["enqueue", "recorded", "settle"]);

/**
 * The order of calls on one connection. Redis answers nothing before it has run all that one read
 * of the connection brought it, so a lease call with a settle call of 100 results on its heels is
 * answered twice as late, and the workers' next tasks with it. Hence what can wait is sent when
 * the lease calls before it are answered: Redis then runs it while the leases are on their way. It
 * waits for no lease call that comes later, and no longer than one may take.
 */
export function inTurns(scripts: Scripts): Scripts {
  let leasing = 0;
  let waiting: (() => void)[] = [];

  function answered(): void {
    leasing -= 1;
    const sends = waiting;
    waiting = [];
    for (const send of sends) send();
  }

  return {
    run(name, base, args) {
      const send = (): Promise<unknown> => scripts.run(name, base, args);
      if (name === "lease") {
        leasing += 1;
        const reply = send();
        reply.then(answered, answered);
        return reply;
      }
      if (leasing === 0 || !patient.has(name)) return send();
      return new Promise((resolve) => waiting.push(() => resolve(send())));
    },
  };
}
